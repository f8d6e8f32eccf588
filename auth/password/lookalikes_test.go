package password

import "testing"

// The estimator calls these strong, and they are the first that people think of.
func TestStrength_LookalikesAreNotStrong(t *testing.T) {
	policy := Policy{MinLength: 8}
	for _, raw := range []string{
		"Tr0ub4dor&3", "tr0ub4dor&3", "Tr0ub4dour&3!", "correcthorsebatterystaple", "correct horse battery staple", "Correct-Horse-Battery-Staple", "correcthorsebatterystaple1!",
	} {
		if got := policy.Strength(raw); got.Score > 1 || got.Message == "" {
			t.Errorf("%q: got %+v, want it refused", raw, got)
		}
		if _, err := policy.Check(raw); err == nil {
			t.Errorf("%q is accepted", raw)
		}
	}
	for _, raw := range []string{"P4ncak3s&77", "P4ncak3house#1", "k3ttl3drum#4"} {
		if got := policy.Strength(raw); got.Score > fair || got.Message != "" {
			t.Errorf("%q: got %+v, want at most %q", raw, got, strengthLabels[fair])
		}
	}
	for _, raw := range []string{"tidy-badger-kettle-lantern", "correct horse badger kettle lantern", "vK3$xQ9!pL2&zW7", "kettle drum 4 lanterns 3 foxes"} {
		if got := policy.Strength(raw); got.Score != 4 || got.Message != "" {
			t.Errorf("%q: got %+v, want it strong", raw, got)
		}
	}
}
