//go:build linux

package powercut_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	brokertest "waybill/test/broker"
)

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func seed(t *testing.T) uint64 { return setting(t, "POWERCUT_SEED", rand.Uint64()) }

// Nothing that was acknowledged is lost when the power fails, and nothing
// appears that was not sent.
func TestPowerCut(t *testing.T) {
	needDisk(t)
	n := int(setting(t, "POWERCUTS", 20))
	r := newRig(t, brokertest.Build(t), seed(t), false)
	err := r.run(n, t.Failed)
	t.Log(r.summary())
	if err != nil {
		t.Error(err)
	}
	if err := r.err(); err != nil {
		t.Error(err)
	}
	if r.cycles < n {
		t.Errorf("%d of %d cycles", r.cycles, n)
	}
	if n >= 10 && r.kept() == 0 {
		t.Error("no WAL file is kept: nothing is known of what a power cut does to them")
	}
	if n >= 10 && r.direct == 0 {
		t.Error("nothing was written past the page cache: nothing is known of what a power cut does to that")
	}
}

// The rig finds out when a broker acks before it syncs: the tag
// waybill_broken_ack makes the storage do so.
func TestFindsAckBeforeSync(t *testing.T) { finds(t, "-tags=waybill_broken_ack", false) }

// It finds out, too, when that happens only where the file system would not lose anything: see the tag
// waybill_broken_direct. The disk has to.
func TestFindsAckBeforeFlush(t *testing.T) { finds(t, "-tags=waybill_broken_direct", true) }

// finds cuts the power of a broker that is broken on purpose until acknowledged messages are lost. Such a broker may also
// refuse to start again, which proves nothing about the rig: then another disk is tried.
func finds(t *testing.T, tags string, below bool) {
	needDisk(t)
	const disks, cuts = 30, 20 // of the disks, half or more prove nothing
	binary := brokertest.Build(t, tags)
	found := false
	for n := range uint64(disks) {
		t.Run(fmt.Sprint("disk", n), func(t *testing.T) {
			r := newRig(t, binary, seed(t)+n, below)
			err := r.run(cuts, func() bool {
				// Only what is missing after all was read is a loss.
				found = r.drain(false) == nil && r.lost() > 0
				return found
			})
			t.Log(r.summary())
			if err != nil {
				t.Logf("it gave up: %v", err)
			}
		})
		if found {
			return
		}
	}
	t.Errorf("the rig finds no loss on %d disks of a broker that was built with %s", disks, tags)
}
