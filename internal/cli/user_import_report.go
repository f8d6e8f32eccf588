package cli

import (
	"fmt"
	"strings"
	"unicode"

	"gatehouse/auth/identifier"
	"gatehouse/internal/config"
)

// report prints the results of the run and suggestions for the operator.
func (r *importRun) report() {
	p := func(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }
	done := "Imported"
	if r.DryRun {
		done = "Dry run, nothing was changed. Would import"
	}
	p("%s %d; already imported: %d; refused: %d.", done, r.imported, r.skipped, r.refused)
	switch {
	case r.From != "auto" || r.file.Source == "":
	case r.file.Source == r.file.Format:
		p("Read as: %s.", r.file.Format)
	default:
		p("Read as: %s (%s).", r.file.Source, r.file.Format)
	}
	if r.named > 0 {
		p("%d of them are named after their whole address, because the part before the @ is reserved, taken or not unique. See: %s user list", r.named, config.ProgramName())
	}
	if r.locked > 0 {
		p("%d of them have no password and cannot sign in. Set one with: %s user passwd NAME", r.locked, config.ProgramName())
	}
	if r.privileged > 0 {
		p("%d of them were superusers or staff, which grants nothing here. Make an administrator with: %s user join NAME admin", r.privileged, config.ProgramName())
	}
	for exported, name := range sortedByKey(r.renamed) {
		if name != "" {
			p("The group %q is named %s here.", printable(exported), name)
			continue
		}
		name = groupName(exported)
		p("The group %q was skipped, because the group %s administers users here. Add a user to it with: %s user join NAME %s", printable(exported), name, config.ProgramName(), name)
	}
	for group := range sortedByKey(r.created) {
		p("The group %s is new and has no permissions yet. Grant one with: %s group grant %s PERMISSION", group, config.ProgramName(), group)
	}
}

// printable returns a value of the export in a form that is safe to print: without control characters, and "" for what
// may be an address or a hash, which any column can hold if columns are shifted.
func printable(s string) string {
	if strings.ContainsAny(s, "@$") {
		return ""
	}
	if runes := []rune(s); len(runes) > 64 {
		s = string(runes[:64]) + "…"
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) {
			return '\uFFFD'
		}
		return c
	}, s)
}

// nameWithoutAddress returns the user name of a user here in a printable form, or "" if it may have been made by
// identifier.UsernameFromEmail, because such a name reveals the address.
func nameWithoutAddress(name string) string {
	if at := strings.LastIndexByte(name, '_'); at > 0 {
		if address, err := identifier.CanonicalEmail(name[:at] + "@" + name[at+1:]); err == nil && address != "" {
			return ""
		}
	}
	return printable(name)
}
