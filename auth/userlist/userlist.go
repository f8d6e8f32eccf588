// Package userlist describes which users a list shows, and in which order.
package userlist

// State selects users by their state; "" selects all.
type State string

// Unverified users have an address that is not verified.
const (
	Active     State = "active"
	Disabled   State = "disabled"
	Unverified State = "unverified"
)

// Sort is what a list is sorted by; users who are equal in it by their usernames.
type Sort string

// ByLastSignIn takes users who never signed in for the first ones.
const (
	ByUsername   Sort = ""
	ByLastSignIn Sort = "last-sign-in"
	ByCreation   Sort = "created"
)

// Query selects a page of a list of users.
type Query struct {
	// Text is part of the username, name or address of the users, compared by identifier.FoldSearch; "" selects all.
	Text  string
	State State
	// Group is a group that the users belong to; "" selects all.
	Group      string
	Sort       Sort
	Descending bool
	// After and Before, of which at most one is set, are the places in the list that another page of it names. In a list by
	// username, a username will do.
	After, Before string
	// Limit is the number of users on a page.
	Limit int
}
