package bench

import "math/rand/v2"

// newBody makes a body that does not compress, as the payloads of others may or
// may not: no broker shall look good because it is all zeros.
func newBody(size int) []byte {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}
