//go:build race

package kafka

// spoil makes it show when somebody looks at a frame that he has given back: it is not
// one any more, and the race detector tells who he is.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
