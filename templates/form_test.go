package templates

import "testing"

func TestForm_ValuesAndErrors(t *testing.T) {
	f := Form{Values: map[string]string{"a": "1"}, Errors: map[string]string{"b": "wrong"}, First: "b"}
	if f.Value("a") != "1" || f.Value("b") != "" || f.Error("b") != "wrong" || f.Error("a") != "" || !f.Focus("b") || f.Focus("a") {
		t.Errorf("got %+v", f)
	}
}
