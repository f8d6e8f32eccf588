package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHelpContact is the maximum length of HELP_CONTACT in characters: two sentences.
const maxHelpContact = 300

func (s Settings) checkHelpContact() error {
	switch {
	case !utf8.ValidString(s.HelpContact) || strings.ContainsFunc(s.HelpContact, unicode.IsControl):
		return fmt.Errorf("HELP_CONTACT %q has characters that cannot be shown: write one line of UTF-8 text", s.HelpContact)
	case utf8.RuneCountInString(s.HelpContact) > maxHelpContact:
		return fmt.Errorf("HELP_CONTACT has %d characters; the maximum is %d", utf8.RuneCountInString(s.HelpContact), maxHelpContact)
	}
	return nil
}
