//go:build linux

package powercut_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	brokertest "waybill/test/broker"
)

var (
	cycles = flag.Int("cycles", 200, "how often the power is cut")
	seed   = flag.Uint64("seed", 0, "seed of the random choices; 0: a random one")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	os.Exit(brokertest.Main(m))
}

// Nothing that was acknowledged is lost when the power fails, and nothing
// appears that was not sent.
func TestPowerCut(t *testing.T) {
	needDisk(t)
	n := *cycles
	if testing.Short() {
		n = min(n, 20)
	}
	r := newRig(t, brokertest.Build(t), *seed)
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
}

// The rig finds out when a broker acks before it syncs: the tag
// waybill_broken_ack makes the storage do so.
func TestFindsAckBeforeSync(t *testing.T) {
	needDisk(t)
	const limit = 50
	r := newRig(t, brokertest.Build(t, "-tags=waybill_broken_ack"), *seed)
	err := r.run(limit, func() bool {
		if err := r.drain(false); err != nil {
			t.Log(err)
		}
		return r.lost() > 0
	})
	t.Log(r.summary())
	if r.lost() == 0 {
		t.Errorf("the rig found no loss in %d power cuts of a broker that acks before it syncs (%v)", r.cycles, err)
	}
}
