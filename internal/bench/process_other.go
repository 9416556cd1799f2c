//go:build !linux

package bench

import "errors"

func readUsage(int) (usage, error) {
	return usage{}, errors.New("what a process uses is read from /proc, which only Linux has")
}

func diskWritten(dir string) (int64, error) {
	if dir == "" {
		return 0, nil
	}
	return 0, errors.New("what a disk is written is read from /sys, which only Linux has")
}
