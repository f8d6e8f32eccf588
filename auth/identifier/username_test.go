package identifier

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

func TestCanonicalUsername_Normalizes(t *testing.T) {
	for raw, want := range map[string]string{
		"alice":                       "alice",
		"Alice":                       "alice",
		"  alice\t":                   "alice",
		"Ａｌｉｃｅ":                       "alice",
		"a.b-c_d":                     "a.b-c_d",
		"7of9":                        "7of9",
		"Jos\u00e9":                   "jos\u00e9",
		"Jose\u0301":                  "jos\u00e9",
		"ÅNGSTRÖM":                    "ångström",
		"Straße":                      "straße",
		"שלום":                        "שלום",
		"محمد":                        "محمد",
		"محمد١":                       "محمد١",
		"田中さくら":                       "田中さくら",
		"सीता":                        "सीता",
		"x":                           "x",
		strings.Repeat("é", 64):       strings.Repeat("é", 64),
		strings.Repeat("e\u0301", 64): strings.Repeat("é", 64),
	} {
		got, err := CanonicalUsername(raw)
		if err != nil || got != want {
			t.Errorf("CanonicalUsername(%+q) = %+q, %v; want %+q", raw, got, err, want)
		}
		again, err := CanonicalUsername(got)
		if err != nil || again != got {
			t.Errorf("not idempotent: %+q became %+q, %v", got, again, err)
		}
	}
}

func TestCanonicalUsername_RefusesInvalidNames(t *testing.T) {
	const letters = "Use letters, digits, dots, hyphens and underscores."
	for raw, want := range map[string]string{
		"":                          "Enter a user name.",
		" \t\n":                     "Enter a user name.",
		"al ice":                    letters,
		"al\u200bice":               letters,
		"al\u200dice":               letters,
		"al\u200cice":               letters,
		"al\ufeffice":               letters,
		"\u2060alice":               letters,
		"al\u00adice":               letters,
		"al\u202eice":               letters,
		"alice\x00":                 letters,
		"alice\nroot":               letters,
		"alice@example.org":         letters,
		"alice/bob":                 letters,
		"<b>":                       letters,
		"ali🙂":                      letters,
		"אא1١":                      letters, // European and Arabic digits in one right-to-left name
		"aא":                        letters, // both directions in one name
		".alice":                    "Begin with a letter or a digit.",
		"_alice":                    "Begin with a letter or a digit.",
		"-":                         "Begin with a letter or a digit.",
		"ali\xffce":                 "Some characters are damaged; type the name again.",
		strings.Repeat("é", 65):     "Use at most 64 characters.",
		strings.Repeat("a", 1<<20):  "Use at most 64 characters.",
		strings.Repeat("\xff", 100): "Some characters are damaged; type the name again.",
	} {
		got, err := CanonicalUsername(raw)
		if err == nil || err.Error() != want || got != "" {
			t.Errorf("CanonicalUsername(%+.40q) = %+q, %v; want the message %q", raw, got, err, want)
		}
	}
}

func TestNewUsername_AcceptsEveryScript(t *testing.T) {
	for _, name := range []string{
		"al", "alice", "mall", "adminton", "roots", "rooted", "日本太郎", "田中さくら", "サクラ", "tanakaさくら",
		"田中サクラtaro", "田中ー", "佐々木", "王小明", "김철수", "김kim", "иван", "γιάννης", "محمد", "דוד", "josé",
		"иван2", "user7", "a1", "0x", "li", "il",
	} {
		got, err := NewUsername(name)
		if err != nil || got != name {
			t.Errorf("NewUsername(%q) = %q, %v", name, got, err)
		}
	}
}

func TestNewUsername_RefusesReservedAndMixedNames(t *testing.T) {
	const (
		isReserved = "This name is reserved; choose another one."
		mixed      = "Letters of different alphabets can't be mixed in one name."
	)
	for name, want := range map[string]string{
		"a": "Use at least 2 characters (this has 1).",
		"é": "Use at least 2 characters (this has 1).",

		"admin":          isReserved,
		"Admin":          isReserved,
		"ＡＤＭＩＮ":          isReserved,
		"a.d-m_i.n":      isReserved,
		"admin-":         isReserved,
		"no-reply":       isReserved,
		"web.master":     isReserved,
		"gatehouse":      isReserved,
		"r00t":           isReserved,
		"4dm1n":          isReserved,
		"adm1n":          isReserved,
		"adm1n1strator":  isReserved,
		"bi11ing":        isReserved,
		"b11l1ng":        isReserved,
		"he1p":           isReserved,
		"5upp0r7":        isReserved,
		"l0g1n":          isReserved,
		"admın":          isReserved, // a dotless i
		"\u0430dmin":     isReserved, // Cyrillic а
		"аԁміп":          isReserved, // Cyrillic all over
		"r\u043e\u043et": isReserved, // Cyrillic о
		"r\u03bf\u03bft": isReserved, // Greek ο
		"ѕуѕтем":         isReserved, // Cyrillic all over

		"p\u0430ypal":  mixed, // Cyrillic а
		"аlice":        mixed, // Cyrillic а
		"alicе":        mixed, // Cyrillic е
		"αlice":        mixed, // Greek α
		"иванγ":        mixed,
		"サクラиван":      mixed,
		"김さくら":         mixed,
		"ㄅさくら":         mixed,
		"աlice":        mixed,
		"ivan\u0410bc": mixed,
	} {
		got, err := NewUsername(name)
		if err == nil || err.Error() != want || got != "" {
			t.Errorf("NewUsername(%q) = %q, %v; want the message %q", name, got, err, want)
		}
	}
	for name := range reserved {
		if strings.Contains(name, "1") {
			continue // a spelling of another one with digits
		}
		if _, err := NewUsername(name); err == nil {
			t.Errorf("the reserved name %q is accepted", name)
		}
		if _, err := CanonicalUsername(name); err != nil {
			t.Errorf("an operator can't use the reserved name %q: %v", name, err)
		}
	}
}

func TestCanonicalUsername_LimitsTheStoredForm(t *testing.T) {
	// A ligature becomes several letters.
	if got, err := CanonicalUsername(strings.Repeat("ﷺ", 10)); err == nil {
		t.Errorf("got %q, want it refused", got)
	}
	for _, name := range []string{strings.Repeat("é", 64), strings.Repeat("ậ", 64)} {
		composed, err1 := CanonicalUsername(norm.NFC.String(name))
		apart, err2 := CanonicalUsername(norm.NFD.String(name))
		if err1 != nil || err2 != nil || composed != apart {
			t.Errorf("got %q (%v) for the composed and %q (%v) for the decomposed name, want the same", composed, err1, apart, err2)
		}
	}
}

func TestCanonicalEmail_NormalizesOrRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                            "",
		"   ":                         "",
		"alice@example.org":           "alice@example.org",
		" Alice@Example.ORG\n":        "alice@example.org",
		"a.b+tag@sub.example.org":     "a.b+tag@sub.example.org",
		"o'hara@example.org":          "o'hara@example.org",
		"alice@bücher.example":        "alice@xn--bcher-kva.example",
		"alice@BÜCHER.example":        "alice@xn--bcher-kva.example",
		"alice@xn--bcher-kva.example": "alice@xn--bcher-kva.example",
		"Jos\u00e9@example.org":       "jos\u00e9@example.org",
		"Jose\u0301@example.org":      "jos\u00e9@example.org",
	} {
		got, err := CanonicalEmail(raw)
		if err != nil || got != want {
			t.Errorf("CanonicalEmail(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
	long := strings.Repeat("a", 60) + "@" + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "." + strings.Repeat("d", 60)
	for _, raw := range []string{
		"alice", "@example.org", "alice@", "alice@localhost", "a b@example.org", "a@b@example.org", "alice@example..org",
		"alice@.example.org", "<alice@example.org>", "Alice <alice@example.org>", "alice@example.org, bob@example.org",
		`"a b"@example.org`, `"alice"@example.org`, "alice(x)@example.org", "alice@[127.0.0.1]", "alice\\@example.org",
		"alice@example.org\r\nBcc: bob@example.org", "al\x00ice@example.org", "al\xffice@example.org",
		"al\u202eice@example.org", "al\u200bice@example.org", "al\u00adice@example.org", "alice@exa_mple!.org", "alice@-example.org", "alice@example。", "alice@example.org.", "alice@example.org。", "alice@。example", "alice.@example.org",
		strings.Repeat("a", 1<<20) + "@example.org", long + strings.Repeat("e", MaxEmail),
	} {
		if got, err := CanonicalEmail(raw); err == nil || got != "" || err.Error() != "Enter an address such as name@example.org." {
			t.Errorf("CanonicalEmail(%.60q) = %q, %v; want it refused", raw, got, err)
		}
	}
	// The limit applies to the stored form: punycode is longer.
	if got, err := CanonicalEmail("a@" + strings.Repeat("bücher.", 34) + "example"); err == nil {
		t.Errorf("an address of %d bytes is accepted", len(got))
	}
}

func TestCanonicalDisplayName_NormalizesOrRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                             "",
		"  ":                           "",
		"Alice":                        "Alice",
		"  Alice \t  B.  Smith ":       "Alice B. Smith",
		"Jose\u0301":                   "Jos\u00e9",
		"<script>":                     "<script>",
		"O'Hara & Söhne":               "O'Hara & Söhne",
		"👩\u200d🚀":                     "👩\u200d🚀",
		"می\u200cخواهم":                "می\u200cخواهم",
		strings.Repeat("é", 100):       strings.Repeat("é", 100),
		strings.Repeat("e\u0301", 100): strings.Repeat("é", 100),
	} {
		got, err := CanonicalDisplayName(raw)
		if err != nil || got != want {
			t.Errorf("CanonicalDisplayName(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		strings.Repeat("é", 101):   "Use at most 100 characters.",
		strings.Repeat("x", 1<<20): "Use at most 100 characters.",
		"Alice\nBob":               "Some characters can't be used in a name; type it again.",
		"Al\x00ice":                "Some characters can't be used in a name; type it again.",
		"Al\xffice":                "Some characters can't be used in a name; type it again.",
		"Al\u202eice":              "Some characters can't be used in a name; type it again.",
		"Al\u2066ice":              "Some characters can't be used in a name; type it again.",
		"Al\u2028ice":              "Some characters can't be used in a name; type it again.",
		"Al\U000e0041ice":          "Some characters can't be used in a name; type it again.",
		"Al\ue000ice":              "Some characters can't be used in a name; type it again.",
		"\u200b":                   "Some characters can't be used in a name; type it again.",
		"\u200d\u2060\u00ad":       "Some characters can't be used in a name; type it again.",
		"\u3164":                   "Some characters can't be used in a name; type it again.", // a Hangul filler is invisible
	} {
		if got, err := CanonicalDisplayName(raw); err == nil || got != "" || err.Error() != want {
			t.Errorf("CanonicalDisplayName(%.40q) = %q, %v; want the message %q", raw, got, err, want)
		}
	}
}

// TestCanonicalEmail_IsIdempotent: the profile form submits the stored address again, so an address that is accepted at
// registration must be accepted then.
func TestCanonicalEmail_IsIdempotent(t *testing.T) {
	for _, raw := range []string{
		"a@b\u2135c.org", "a@b.org\u2138", "a@x\u2136.org", "a@\u05d0b.org", "a@\u05d0\u05d1.org", "Jose\u0301@BÜCHER.example", "a@faß.de", "a@xn--fa-hia.de", "a@１.example", "a@b\u00adc.org",
	} {
		email, err := CanonicalEmail(raw)
		if err != nil {
			continue
		}
		if again, err := CanonicalEmail(email); err != nil || again != email {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, email, again, err)
		}
	}
}

// TestNewUsername_RefusesLookalikesOfReservedNames: by the confusables table of Unicode Technical Standard 39.
func TestNewUsername_RefusesLookalikesOfReservedNames(t *testing.T) {
	for _, name := range []string{
		"ᴀdmin", "ᴀᴅᴍɪɴ", "adᴍin", "ʀoot", "rᴏᴏt", "ꓮꓓꓟꓲꓠ", "ꓣꓳꓳꓔ", "ꓢꓴꓑꓑꓳꓣꓔ", "аdmin", "ѕystem", "ａｄｍｉｎ", "adm1n", "4dmin", "r00t", "root.", "a-d-m-i-n", "adrnin", "ᴀ_dmin", "supp0rt", "ⲣοⲟt", "gɑtehouse", "sуstem",
		"hеlp",
	} {
		canonical, err := CanonicalUsername(name)
		if err != nil {
			continue // not a valid name at all
		}
		if _, err := NewUsername(name); err == nil {
			t.Errorf("%s (%+q) is accepted", name, canonical)
		}
	}
	for _, name := range []string{"alice", "maria", "jürgen", "борис", "ελενη", "ꓞꓟꓡ", "דוד", "佐藤", "amir", "hal", "ruth", "adrian", "rooted", "info2u", "ꮳꮃꭹ", "neal", "modern"} {
		if _, err := NewUsername(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSkeleton_IsEqualForLookalikes(t *testing.T) {
	for _, pair := range [][2]string{
		{"alice", "аlice"}, {"alice", "ᴀlice"}, {"alice", "al\u0131ce"}, {"bob", "b0b"}, {"paypal", "раураl"}, {"modern", "modem"}, {"alice", "ali\u0307ce"}, {"al1ce", "allce"},
		{"jose\u0301", "josé"}, {"scope", "ѕсоре"}, {"mark", "ᴍark"}, {"neo", "ꓠꓰꓳ"}, {"max", "ᴍᴀx"},
	} {
		a, err1 := CanonicalUsername(pair[0])
		b, err2 := CanonicalUsername(pair[1])
		if err1 != nil || err2 != nil {
			t.Errorf("%q: %v, %v", pair, err1, err2)
		}
		if !slices.Contains(Lookalikes(b), Skeleton(a)) {
			t.Errorf("%s has the skeleton %q, %s the lookalikes %q; want one in common", a, Skeleton(a), b, Lookalikes(b))
		}
	}
	// A name in another script can read as capitals, where i and l look alike.
	for _, name := range []string{"ꓮꓡꓲꓚꓰ"} {
		if got := Lookalikes(name); len(got) != 2 || got[1] != Skeleton("alice") {
			t.Errorf("%s: got %q, want two with %q as the second", name, got, Skeleton("alice"))
		}
	}
	for _, pair := range [][2]string{{"mail", "mali"}, {"jose", "josé"}, {"anna", "ana"}, {"al-ice", "alice"}, {"mia", "mla"}, {"user2", "user3"}} {
		if Skeleton(pair[0]) == Skeleton(pair[1]) {
			t.Errorf("%q have the same skeleton", pair)
		}
	}
	for _, name := range []string{"alice", "ꓮꓡꓲꓚꓰ", "jürgen", "佐藤", "m0dem", "ꭺꭰꮇ", "ᴌ"} {
		if s := Skeleton(name); Skeleton(s) != s {
			t.Errorf("%s: the skeleton of %q is %q", name, s, Skeleton(s))
		}
	}
}
