//go:build !race

package amqp

// spoil does nothing; see spoil_race.go.
func spoil([]byte) {}
