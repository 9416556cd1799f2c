package server

import "testing"

func TestCoresLook(t *testing.T) {
	var c cores
	feed := func(used float64, n int) (changes int) {
		for range n {
			if c.look(used) {
				changes++
			}
		}
		return changes
	}
	if feed(0.1, calmAfter-1) != 0 || feed(0.1, 1) != 1 || !c.one {
		t.Error("a calm node does not get along with one processor")
	}
	if feed(0.5, 100) != 0 || !c.one {
		t.Error("half a core changes something")
	}
	if feed(0.7, 1) != 1 || c.one {
		t.Error("a busy node does not get all processors at once")
	}
	if feed(0.1, calmAfter-1) != 0 || feed(0.5, 1) != 0 || feed(0.1, calmAfter-1) != 0 || c.one {
		t.Error("a node that is calm at times loses its processors")
	}
}
