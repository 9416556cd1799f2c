//go:build !linux

package server

// CoarseTimers does nothing: the slack of timers is Linux's.
func CoarseTimers() {}
