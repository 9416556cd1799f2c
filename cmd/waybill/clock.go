//go:build waybill_clock

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// With the tag waybill_clock, for tests, SIGUSR1 puts the node's clock an hour forward
// and SIGUSR2 an hour back, as if somebody had set that of the machine. time.Jump, in
// seconds, is in no package time but the one that test/broker builds such a binary with.
func init() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range signals {
			if s == syscall.SIGUSR1 {
				time.Jump.Add(3600)
			} else {
				time.Jump.Add(-3600)
			}
		}
	}()
}
