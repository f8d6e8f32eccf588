package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

func (r *importRun) readGroups(ctx context.Context) error {
	all, err := r.accounts.Groups(ctx)
	if err != nil {
		return fmt.Errorf("list the groups: %w", err)
	}
	r.groups = make(map[string]auth.Group, len(all))
	for _, g := range all {
		r.groups[g.Name] = g
	}
	return nil
}

// groupNames returns the names that groups of the export have here. It skips groups that can administer users here,
// because an import must not make anyone an administrator. problem is a sentence about a name that no group can have.
func (r *importRun) groupNames(exported []string) (names []string, problem string) {
	for _, e := range exported {
		name := groupName(e)
		if identifier.ValidateGroupName(name) != nil {
			return nil, fmt.Sprintf("The group name %q cannot be converted to one word of lower-case letters and digits, such as editors.", printable(e))
		}
		if name == auth.AdminGroup || slices.Contains(r.groups[name].Permissions, auth.ManageUsers) {
			r.renamed[e] = ""
			continue
		}
		if name != e {
			r.renamed[e] = name
		}
		names = append(names, name)
	}
	return names, ""
}

// groupName returns "content-editors" for "Content Éditors", and "" for a name with characters that have no ASCII form.
func groupName(name string) string {
	plain := strings.Map(func(c rune) rune {
		if unicode.Is(unicode.Mn, c) {
			return -1
		}
		return unicode.ToLower(c)
	}, norm.NFD.String(name))
	if strings.ContainsFunc(plain, func(c rune) bool { return c > unicode.MaxASCII || c == '@' || c == '$' }) {
		return ""
	}
	parts := strings.FieldsFunc(plain, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-'
	})
	return strings.Join(parts, "-")
}
