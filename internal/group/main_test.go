package group

import (
	"flag"
	"os"
	"testing"
)

// TestMain makes the property tests long: a rebalance alone takes a dozen
// steps. The command line has the last word.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.steps": "200", "rapid.checks": "300"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
