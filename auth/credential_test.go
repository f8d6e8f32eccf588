package auth

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	credentialKeys = newKeys(bytes.Repeat([]byte{1}, 32))
	otherKeys      = newKeys(bytes.Repeat([]byte{2}, 32))
	alice          = User{ID: "u1", Username: "alice", Epoch: 3, Active: true}
)

func TestCredential_ProvesOnlyItsOwnLogin(t *testing.T) {
	good := credentialKeys.newCredential("alice", "192.0.2.7", alice, "secret")
	if good.Version != 1 || good.Name != "alice" || good.UserID != "u1" || good.Epoch != 3 || len(good.MAC) != 32 {
		t.Errorf("got %+v, want alice's credential", good)
	}
	bobs := credentialKeys.newCredential("bob", "192.0.2.7", User{ID: "u2", Epoch: 3}, "secret")
	for what, c := range map[string]struct {
		change         func(*Credential)
		name, password string
		want           bool
	}{
		"right":            {func(*Credential) {}, "alice", "secret", true},
		"wrong password":   {func(*Credential) {}, "alice", "Secret", false},
		"no password":      {func(*Credential) {}, "alice", "", false},
		"longer password":  {func(*Credential) {}, "alice", "secret\x00", false},
		"other name given": {func(*Credential) {}, "bob", "secret", false},
		"other name's":     {func(c *Credential) { *c = bobs }, "alice", "secret", false},
		"other's, renamed": {func(c *Credential) { *c = bobs; c.Name = "alice" }, "alice", "secret", false},
		"other's MAC":      {func(c *Credential) { c.MAC = bobs.MAC }, "alice", "secret", false},
		"other network":    {func(c *Credential) { *c = credentialKeys.newCredential("alice", "192.0.2.8", alice, "secret") }, "alice", "secret", false},
		"renamed network": {func(c *Credential) {
			*c = credentialKeys.newCredential("alice", "192.0.2.8", alice, "secret")
			c.Network = "192.0.2.7"
		}, "alice", "secret", false},
		"no network":         {func(c *Credential) { c.Network = "" }, "alice", "secret", false},
		"other user":         {func(c *Credential) { c.UserID = "u2" }, "alice", "secret", false},
		"no user":            {func(c *Credential) { *c = credentialKeys.newCredential("alice", "192.0.2.7", User{Epoch: 3}, "secret") }, "alice", "secret", false},
		"later epoch":        {func(c *Credential) { c.Epoch = 4 }, "alice", "secret", false},
		"no epoch":           {func(c *Credential) { c.Epoch = 0 }, "alice", "secret", false},
		"other version":      {func(c *Credential) { c.Version = 2 }, "alice", "secret", false},
		"no version":         {func(c *Credential) { c.Version = 0 }, "alice", "secret", false},
		"no MAC":             {func(c *Credential) { c.MAC = nil }, "alice", "secret", false},
		"half a MAC":         {func(c *Credential) { c.MAC = c.MAC[:16] }, "alice", "secret", false},
		"longer MAC":         {func(c *Credential) { c.MAC = append(c.MAC, 0) }, "alice", "secret", false},
		"other key":          {func(c *Credential) { *c = otherKeys.newCredential("alice", "192.0.2.7", alice, "secret") }, "alice", "secret", false},
		"other purpose":      {func(c *Credential) { c.MAC = credentialKeys.sign(devicePurpose, c.fields("secret")...) }, "alice", "secret", false},
		"MAC of the browser": {func(c *Credential) { c.MAC = credentialKeys.sign(devicePurpose, "x", "alice") }, "alice", "secret", false},
	} {
		rec := good
		rec.MAC = slices.Clone(good.MAC)
		c.change(&rec)
		if got := credentialKeys.proves(rec, c.name, "192.0.2.7", c.password); got != c.want {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
	for i := range good.MAC {
		for bit := range 8 {
			rec := good
			rec.MAC = slices.Clone(good.MAC)
			rec.MAC[i] ^= 1 << bit
			if credentialKeys.proves(rec, "alice", "192.0.2.7", "secret") {
				t.Errorf("bit %d of byte %d of the MAC is ignored", bit, i)
			}
		}
	}
}

// TestSign_SeparatesFields: moving text from one field to the next gives another MAC.
func TestSign_SeparatesFields(t *testing.T) {
	moved := [][2]Credential{
		{{Name: "alice", UserID: "u1", Epoch: 3}, {Name: "aliceu", UserID: "1", Epoch: 3}},
		{{Name: "alice", UserID: "u1", Epoch: 3}, {Name: "alice", UserID: "u13", Epoch: 0}},
		{{Name: "a", UserID: "b", Epoch: 1}, {Name: "", UserID: "ab", Epoch: 1}},
	}
	for _, pair := range moved {
		one := credentialKeys.sign(credentialPurpose, pair[0].fields("1secret")...)
		two := credentialKeys.sign(credentialPurpose, pair[1].fields("1secret")...)
		if bytes.Equal(one, two) {
			t.Errorf("%+v and %+v have the same MAC", pair[0], pair[1])
		}
	}
	for _, pair := range [][2][]string{
		{{"a", "u", "1", "23"}, {"a", "u", "12", "3"}},
		{{"a", "b"}, {"ab", ""}}, {{"ab"}, {"a", "b"}}, {{"a"}, {"a", ""}},
		{{"\x00\x00\x00\x00\x00\x00\x00\x01a"}, {"", "a"}},
	} {
		if bytes.Equal(credentialKeys.sign(credentialPurpose, pair[0]...), credentialKeys.sign(credentialPurpose, pair[1]...)) {
			t.Errorf("%q and %q have the same MAC", pair[0], pair[1])
		}
	}
}

// TestCredential_SurvivesKeyRotation: credentials signed with an old key are valid as long as SECRET_KEY lists that key.
func TestCredential_SurvivesKeyRotation(t *testing.T) {
	oldKey, newKey := credentialKeys.secrets[0], otherKeys.secrets[0]
	both, only := newKeys(newKey, oldKey), newKeys(newKey)
	before := credentialKeys.newCredential("alice", "192.0.2.7", alice, "secret")
	if !both.proves(before, "alice", "192.0.2.7", "secret") {
		t.Error("the old key's credential is refused while SECRET_KEY lists the key")
	}
	if only.proves(before, "alice", "192.0.2.7", "secret") {
		t.Error("the old key's credential is accepted after the key was removed")
	}
	during := both.newCredential("alice", "192.0.2.7", alice, "secret")
	if !only.proves(during, "alice", "192.0.2.7", "secret") || credentialKeys.proves(during, "alice", "192.0.2.7", "secret") {
		t.Error("new credentials are not signed with the first key")
	}
}

func TestCredential_RecordHoldsNoPassword(t *testing.T) {
	rec := credentialKeys.newCredential("alice", "192.0.2.7", alice, "hunter2 hunter2")
	b, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") {
		t.Errorf("the record contains the password: %s", b)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil || len(fields) != 6 || fields["network"] != "192.0.2.7" || fields["v"] != 1.0 || fields["name"] != "alice" || fields["user_id"] != "u1" || fields["epoch"] != 3.0 {
		t.Errorf("got %s, %v; want the six documented fields", b, err)
	}
	var again Credential
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, rec) || !credentialKeys.proves(again, "alice", "192.0.2.7", "hunter2 hunter2") {
		t.Errorf("got %+v, %v; want the same credential", again, err)
	}
	if bytes.Equal(rec.MAC, credentialKeys.newCredential("alice", "192.0.2.7", alice, "hunter3 hunter3").MAC) {
		t.Error("the MAC does not depend on the password")
	}
}
