//go:build !linux

package bench

import "errors"

func readUsage(int) (usage, error) {
	return usage{}, errors.New("what a process uses is read from /proc, which only Linux has")
}
