package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxPackageLines = 3000 // without tests and generated code
	maxMainLines    = 60
)

func TestPackages_StaySmall(t *testing.T) {
	for _, p := range list(t) {
		lines := 0
		for _, file := range goFiles(t, p) {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") && !generated(code) {
				lines += bytes.Count(code, []byte("\n"))
			}
		}
		if lines > maxPackageLines {
			t.Errorf("%s has %d lines, more than %d: split it", p.ImportPath, lines, maxPackageLines)
		}
	}
}

func TestMain_StaysSmall(t *testing.T) {
	code, err := os.ReadFile("../../main.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(code, []byte("\n")); lines >= maxMainLines {
		t.Errorf("main.go has %d lines, not less than %d", lines, maxMainLines)
	}
}

func TestPackages_HaveAPackageComment(t *testing.T) {
	for _, p := range list(t) {
		documented := false
		for _, file := range goFiles(t, p) {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc != nil
		}
		if !documented {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// goFiles returns the Go files of a package for all operating systems, including tests.
func goFiles(t *testing.T, p pkg) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func generated(code []byte) bool {
	f, err := parser.ParseFile(token.NewFileSet(), "", code, parser.PackageClauseOnly|parser.ParseComments)
	return err == nil && ast.IsGenerated(f)
}
