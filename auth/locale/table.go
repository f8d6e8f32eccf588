package locale

import (
	"github.com/gohugoio/locales/ar"
	"github.com/gohugoio/locales/cs"
	"github.com/gohugoio/locales/da"
	"github.com/gohugoio/locales/de"
	"github.com/gohugoio/locales/el"
	"github.com/gohugoio/locales/en_GB"
	"github.com/gohugoio/locales/en_US"
	"github.com/gohugoio/locales/es"
	"github.com/gohugoio/locales/fi"
	"github.com/gohugoio/locales/fr"
	"github.com/gohugoio/locales/he"
	"github.com/gohugoio/locales/hi"
	"github.com/gohugoio/locales/hu"
	"github.com/gohugoio/locales/id"
	"github.com/gohugoio/locales/it"
	"github.com/gohugoio/locales/ja"
	"github.com/gohugoio/locales/ko"
	"github.com/gohugoio/locales/nb"
	"github.com/gohugoio/locales/nl"
	"github.com/gohugoio/locales/pl"
	"github.com/gohugoio/locales/pt"
	"github.com/gohugoio/locales/pt_PT"
	"github.com/gohugoio/locales/ro"
	"github.com/gohugoio/locales/ru"
	"github.com/gohugoio/locales/sv"
	"github.com/gohugoio/locales/tr"
	"github.com/gohugoio/locales/uk"
	"github.com/gohugoio/locales/vi"
	"github.com/gohugoio/locales/zh"
	"github.com/gohugoio/locales/zh_Hant"
)

// all are the languages by their names, Latin script first. The dates come from the Unicode CLDR. The times, which the
// library writes wrongly in some languages, are those of the CLDR's short time formats.
var all = []*Locale{
	{Tag: "cs", Name: "Čeština", am: "dop.", pm: "odp.", dates: cs.New()},
	{Tag: "da", Name: "Dansk", separator: ".", am: "AM", pm: "PM", dates: da.New()},
	{Tag: "de", Name: "Deutsch", am: "AM", pm: "PM", dates: de.New()},
	{Tag: "en-GB", Name: "English (UK)", am: "am", pm: "pm", dates: en_GB.New()},
	{Tag: "en-US", Name: "English (US)", hour12: true, am: "AM", pm: "PM", dates: en_US.New()},
	{Tag: "es", Name: "Español", am: "a.\u00a0m.", pm: "p.\u00a0m.", dates: es.New()},
	{Tag: "fr", Name: "Français", am: "AM", pm: "PM", dates: fr.New()},
	{Tag: "id", Name: "Indonesia", separator: ".", am: "AM", pm: "PM", dates: id.New()},
	{Tag: "it", Name: "Italiano", am: "AM", pm: "PM", dates: it.New()},
	{Tag: "hu", Name: "Magyar", join: " ", am: "de.", pm: "du.", period: "P\u00a0T", dates: hu.New()},
	{Tag: "nl", Name: "Nederlands", am: "a.m.", pm: "p.m.", dates: nl.New()},
	{Tag: "nb", Name: "Norsk bokmål", am: "a.m.", pm: "p.m.", dates: nb.New()},
	{Tag: "pl", Name: "Polski", am: "AM", pm: "PM", dates: pl.New()},
	{Tag: "pt-BR", Name: "Português (Brasil)", am: "AM", pm: "PM", dates: pt.New()},
	{Tag: "pt-PT", Name: "Português (Portugal)", am: "a.m.", pm: "p.m.", dates: pt_PT.New()},
	{Tag: "ro", Name: "Română", am: "a.m.", pm: "p.m.", dates: ro.New()},
	{Tag: "fi", Name: "Suomi", separator: ".", am: "ap.", pm: "ip.", dates: fi.New()},
	{Tag: "sv", Name: "Svenska", am: "fm", pm: "em", dates: sv.New()},
	{Tag: "vi", Name: "Tiếng Việt", am: "SA", pm: "CH", dates: vi.New()},
	{Tag: "tr", Name: "Türkçe", join: " ", am: "ÖÖ", pm: "ÖS", period: "P\u00a0T", dates: tr.New()},
	{Tag: "el", Name: "Ελληνικά", hour12: true, am: "π.μ.", pm: "μ.μ.", dates: el.New()},
	{Tag: "ru", Name: "Русский", am: "AM", pm: "PM", dates: ru.New()},
	{Tag: "uk", Name: "Українська", am: "дп", pm: "пп", dates: uk.New()},
	{Tag: "he", Name: "עברית", RightToLeft: true, am: "AM", pm: "PM", dates: he.New()},
	{Tag: "ar", Name: "العربية", RightToLeft: true, hour12: true, join: "، ", am: "ص", pm: "م", dates: ar.New()},
	{Tag: "hi", Name: "हिन्दी", hour12: true, am: "am", pm: "pm", dates: hi.New()},
	{Tag: "zh-Hans", Name: "中文（简体）", join: " ", am: "上午", pm: "下午", period: "PT", dates: zh.New()},
	{Tag: "zh-Hant", Name: "中文（繁體）", hour12: true, join: " ", am: "上午", pm: "下午", period: "PT", dates: zh_Hant.New()},
	{Tag: "ja", Name: "日本語", join: " ", am: "午前", pm: "午後", period: "PT", dates: ja.New()},
	{Tag: "ko", Name: "한국어", hour12: true, join: " ", am: "오전", pm: "오후", period: "P\u00a0T", dates: ko.New()},
}
