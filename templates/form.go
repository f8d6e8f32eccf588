package templates

// Form is a form as the user left it (never the password), with its errors.
type Form struct {
	Values map[string]string
	Errors map[string]string
	// Message is about the form as a whole ("Wrong user name or password.").
	Message string
	// First is the field to focus: the first one with an error, or the one to begin with.
	First string
}

// Value returns what the user entered in the field.
func (f Form) Value(field string) string { return f.Values[field] }

// Error returns the message about the field, or "".
func (f Form) Error(field string) string { return f.Errors[field] }

// Focus reports whether the field gets the focus when the page opens.
func (f Form) Focus(field string) bool { return f.First == field }

// input describes one field of a form.
type input struct {
	Name  string
	ID    string // Name if empty; needed where a page has several fields of the name
	Label string
	// Type and Autocomplete are the attributes of these names.
	Type, Autocomplete string
	Hint               string
	Optional, Required bool
	// Verbatim turns off capitalization and spell checking, for user names and addresses.
	Verbatim bool
	Numeric  bool
	// Meter adds a strength meter to a password.
	Meter bool
}

func (in input) id() string {
	if in.ID != "" {
		return in.ID
	}
	return in.Name
}

func (in input) helpID() string { return in.id() + "-help" }

// describedBy returns the ids of the texts about the field: the form's message where the field has the focus,
// and its error or hint.
func (in input) describedBy(formID string, f Form) string {
	ids := ""
	if f.Message != "" && f.Focus(in.Name) {
		ids = messageID(formID)
	}
	if f.Error(in.Name) != "" || in.Hint != "" {
		if ids != "" {
			ids += " "
		}
		ids += in.helpID()
	}
	return ids
}

func messageID(formID string) string { return formID + "-message" }
