//go:build race

package storage

// spoil makes it show when somebody looks at what he has given back: what he
// sees matches no checksum, and the race detector tells who he is.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
