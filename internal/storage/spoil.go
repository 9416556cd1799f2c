//go:build !race

package storage

// spoil does nothing; see spoil_race.go.
func spoil([]byte) {}
