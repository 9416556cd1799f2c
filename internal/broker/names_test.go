package broker

import "testing"

func TestNamesAreUTF8(t *testing.T) {
	for name, ok := range map[string]bool{"": true, "q": true, "größe": true, "\xff": false, "a\xc3": false} {
		if err := checkName("queue name", name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
