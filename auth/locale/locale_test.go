package locale

import (
	"strings"
	"testing"
	"time"
)

// want holds what Intl.DateTimeFormat of Node.js 20 (ICU 76) writes: dateStyle "full" and "long", and timeStyle "short".
var want = map[string]struct{ full, long, time string }{
	"en-GB":   {"Friday, 6 November 2026", "6 November 2026", "14:05"},
	"en-US":   {"Friday, November 6, 2026", "November 6, 2026", "2:05 PM"},
	"cs":      {"pátek 6. listopadu 2026", "6. listopadu 2026", "14:05"},
	"da":      {"fredag den 6. november 2026", "6. november 2026", "14.05"},
	"de":      {"Freitag, 6. November 2026", "6. November 2026", "14:05"},
	"el":      {"Παρασκευή 6 Νοεμβρίου 2026", "6 Νοεμβρίου 2026", "2:05 μ.μ."},
	"es":      {"viernes, 6 de noviembre de 2026", "6 de noviembre de 2026", "14:05"},
	"fi":      {"perjantai 6. marraskuuta 2026", "6. marraskuuta 2026", "14.05"},
	"fr":      {"vendredi 6 novembre 2026", "6 novembre 2026", "14:05"},
	"he":      {"יום שישי, 6 בנובמבר 2026", "6 בנובמבר 2026", "14:05"},
	"hi":      {"शुक्रवार, 6 नवंबर 2026", "6 नवंबर 2026", "2:05 pm"},
	"hu":      {"2026. november 6., péntek", "2026. november 6.", "14:05"},
	"id":      {"Jumat, 06 November 2026", "6 November 2026", "14.05"},
	"it":      {"venerdì 6 novembre 2026", "6 novembre 2026", "14:05"},
	"ja":      {"2026年11月6日金曜日", "2026年11月6日", "14:05"},
	"ko":      {"2026년 11월 6일 금요일", "2026년 11월 6일", "오후 2:05"},
	"nb":      {"fredag 6. november 2026", "6. november 2026", "14:05"},
	"nl":      {"vrijdag 6 november 2026", "6 november 2026", "14:05"},
	"pl":      {"piątek, 6 listopada 2026", "6 listopada 2026", "14:05"},
	"pt-BR":   {"sexta-feira, 6 de novembro de 2026", "6 de novembro de 2026", "14:05"},
	"pt-PT":   {"sexta-feira, 6 de novembro de 2026", "6 de novembro de 2026", "14:05"},
	"ro":      {"vineri, 6 noiembrie 2026", "6 noiembrie 2026", "14:05"},
	"ru":      {"пятница, 6 ноября 2026 г.", "6 ноября 2026 г.", "14:05"},
	"sv":      {"fredag 6 november 2026", "6 november 2026", "14:05"},
	"tr":      {"6 Kasım 2026 Cuma", "6 Kasım 2026", "14:05"},
	"uk":      {"пʼятниця, 6 листопада 2026 р.", "6 листопада 2026 р.", "14:05"},
	"vi":      {"Thứ Sáu, 6 tháng 11, 2026", "6 tháng 11, 2026", "14:05"},
	"zh-Hans": {"2026年11月6日星期五", "2026年11月6日", "14:05"},
	"zh-Hant": {"2026年11月6日 星期五", "2026年11月6日", "下午2:05"},
	"ar":      {"الجمعة، 6 نوفمبر 2026", "6 نوفمبر 2026", "2:05 م"},
}

// breakable replaces the spaces that prevent a line break.
var breakable = strings.NewReplacer("\u00a0", " ", "\u202f", " ")

func TestLocale_WritesDatesAsBrowsersDo(t *testing.T) {
	at := time.Date(2026, 11, 6, 14, 5, 0, 0, time.UTC)
	if len(All()) != len(want) {
		t.Errorf("got %d languages, want %d", len(All()), len(want))
	}
	for _, l := range All() {
		w := want[l.Tag]
		for got, want := range map[string]string{l.FullDate(at): w.full, l.Date(at): w.long, l.Time(at, ""): w.time} {
			if breakable.Replace(got) != want {
				t.Errorf("%s: got %q, want %q", l.Tag, got, want)
			}
		}
		if rtl := l.Tag == "ar" || l.Tag == "he"; l.RightToLeft != rtl || (l.Dir() == "rtl") != rtl {
			t.Errorf("%s: got right to left %v, want %v", l.Tag, l.RightToLeft, rtl)
		}
	}
}

func TestLocale_DateTimeNamesTheZone(t *testing.T) {
	at := time.Date(2026, 11, 6, 13, 5, 0, 0, time.UTC)
	for _, c := range []struct{ tag, zone, hourCycle, want string }{
		{"", "Europe/Berlin", "", "6 November 2026, 14:05 CET"},
		{"en-GB", "UTC", "h12", "6 November 2026, 1:05 pm UTC"},
		{"en-US", "America/New_York", "", "November 6, 2026, 8:05 AM EST"},
		{"en-US", "America/New_York", "h23", "November 6, 2026, 08:05 EST"},
		{"pt-BR", "America/Sao_Paulo", "", "6 de novembro de 2026, 10:05 UTC−03:00"},
		{"da", "Europe/Copenhagen", "h12", "6. november 2026, 2.05 PM CET"},
		{"hu", "Europe/Budapest", "h12", "2026. november 6. du. 2:05 CET"},
		{"ja", "Asia/Tokyo", "h12", "2026年11月6日 午後10:05 JST"},
		{"ar", "Asia/Kathmandu", "", "6 نوفمبر 2026، 6:50 م UTC+05:45"},
		{"unknown", "Etc/GMT+5", "", "6 November 2026, 08:05 UTC−05:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := breakable.Replace(Find(c.tag).DateTime(at.In(zone), c.hourCycle)); got != c.want {
			t.Errorf("%s in %s: got %q, want %q", c.tag, c.zone, got, c.want)
		}
	}
}

func TestLocale_CountsHoursTo12(t *testing.T) {
	l := Find("en-US")
	for hour, want := range map[int]string{0: "12:00 AM", 1: "1:00 AM", 11: "11:00 AM", 12: "12:00 PM", 13: "1:00 PM", 23: "11:00 PM"} {
		if got := breakable.Replace(l.Time(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC), "h12")); got != want {
			t.Errorf("hour %d: got %q, want %q", hour, got, want)
		}
	}
}

// BenchmarkFullDate: the dashboard needs the date on every request.
func BenchmarkFullDate(b *testing.B) {
	at := time.Date(2026, 11, 6, 14, 5, 0, 0, time.UTC)
	for b.Loop() {
		_ = Find("fi").FullDate(at)
	}
}
