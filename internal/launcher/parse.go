package launcher

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"gatehouse/auth/identifier"
)

const (
	maxFile        = 1 << 20
	maxApps        = 500 // each is on the dashboard, and has its image in memory
	maxURL         = 2048
	maxDescription = 200 // characters
)

// fields are the keys of an app.
var fields = []string{"name", "url", "description", "icon", "group", "permission"}

// Load reads the apps from a file. The error has one line for each problem: "apps.yaml:12: …".
func Load(path string) ([]App, error) {
	content, err := readLimited(os.Open(path))
	if err != nil {
		return nil, err
	}
	p := fileParser{path: path}
	apps := p.parse(content)
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	return apps, nil
}

// Problems returns the problems in an error of Load or Open, one for each line of it.
func Problems(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// readLimited reads and closes a file of at most maxFile bytes.
func readLimited(f *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", f.Name(), maxFile)
	}
	return content, err
}

// fileParser collects the problems of a file.
type fileParser struct {
	path     string
	problems []error
}

func (p *fileParser) problem(line int, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s:%d: %s", p.path, line, fmt.Sprintf(format, args...)))
}

func (p *fileParser) parse(content []byte) []App {
	file, err := parser.ParseBytes(content, 0)
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		p.problem(syntax.GetToken().Position.Line, "%s", syntax.GetMessage())
		return nil
	}
	if err != nil {
		p.problem(1, "%v", err)
		return nil
	}
	var apps []App
	for _, doc := range file.Docs {
		switch body := doc.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode:
		case *ast.SequenceNode:
			if len(apps)+len(body.Values) > maxApps {
				p.problem(lineOf(body), "there are more than %d apps", maxApps)
				return nil
			}
			for _, entry := range body.Values {
				apps = append(apps, p.app(entry))
			}
		default:
			p.problem(lineOf(body), `this is not a list of apps; begin each one with "- name: …"`)
		}
	}
	return apps
}

func lineOf(n ast.Node) int { return n.GetToken().Position.Line }

// app parses one entry.
func (p *fileParser) app(entry ast.Node) App {
	mapping, ok := entry.(ast.MapNode)
	if !ok {
		p.problem(lineOf(entry), `this is not an app; begin each one with "- name: …"`)
		return App{}
	}
	values, lines := map[string]string{}, map[string]int{}
	for i := mapping.MapRange(); i.Next(); {
		key := i.Key().GetToken().Value
		value, ok := textOf(i.Value())
		switch {
		case !slices.Contains(fields, key):
			p.problem(lineOf(i.Key()), "unknown field %q; an app has %s", key, strings.Join(fields, ", "))
		case !ok:
			p.problem(lineOf(i.Key()), "%s is not text", key)
		}
		values[key], lines[key] = value, lineOf(i.Key())
	}
	first := lineOf(entry)
	for _, line := range lines {
		first = min(first, line)
	}
	for _, key := range fields {
		if lines[key] == 0 {
			lines[key] = first
		}
	}
	return p.check(values, lines)
}

// textOf returns the text of a scalar; numbers and dates are text as well. Anchors, aliases and tags are not needed here.
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "", false
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// check returns the app of the values, whose lines are those of lines.
func (p *fileParser) check(values map[string]string, lines map[string]int) App {
	name, err := identifier.CanonicalDisplayName(values["name"])
	if err != nil {
		p.problem(lines["name"], "name: %v", err)
	} else if name == "" {
		p.problem(lines["name"], "an app needs a name")
	}
	description := strings.Join(strings.Fields(values["description"]), " ")
	if utf8.RuneCountInString(description) > maxDescription {
		p.problem(lines["description"], "description: use at most %d characters", maxDescription)
	}
	if err := checkURL(values["url"]); err != nil {
		p.problem(lines["url"], "url: %v", err)
	}
	a := App{Name: name, URL: values["url"], Description: description, Permission: values["permission"], Group: values["group"]}
	if a.Permission != "" {
		if err := identifier.ValidatePermissionName(a.Permission); err != nil {
			p.problem(lines["permission"], "permission: %v", err)
		}
	}
	if a.Group != "" {
		if err := identifier.ValidateGroupName(a.Group); err != nil {
			p.problem(lines["group"], "group: %v", err)
		}
	}
	if file := values["icon"]; file != "" {
		if a.Icon, err = readIcon(filepath.Dir(p.path), file); err != nil {
			p.problem(lines["icon"], "icon: %v", err)
		}
	}
	a.Letter, a.Color = letterOf(name), colorOf(name)
	a.folded = fold(name + " " + description)
	return a
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return errors.New("an app needs an address such as https://wiki.example.org")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || len(raw) > maxURL:
		return fmt.Errorf("%q is not an address such as https://wiki.example.org", raw)
	case u.User != nil:
		return errors.New("leave out the user name and password, which everyone could read")
	}
	return nil
}
