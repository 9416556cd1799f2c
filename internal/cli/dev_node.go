package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// devStop is how long a node may take to stop in order: longer than it gives its clients.
const devStop = 30 * time.Second

// devNode is one child process.
type devNode struct {
	id     int
	args   []string
	http   string // address
	out    io.Writer
	cmd    *exec.Cmd
	exited chan struct{}
	status error // how it ended; after exited is closed
}

var errExitZero = errors.New("exit status 0")

// start starts the process. In a terminal, Ctrl-C reaches a whole process group: the node has one of its
// own, because a second signal would end it without order.
func (n *devNode) start(binary string, exits chan<- *devNode) error {
	n.cmd = exec.Command(binary, n.args...)
	n.cmd.Stdout, n.cmd.Stderr = n.out, n.out
	n.cmd.SysProcAttr = devAttributes()
	if err := n.cmd.Start(); err != nil {
		return err
	}
	go func() {
		if n.status = n.cmd.Wait(); n.status == nil {
			n.status = errExitZero
		}
		close(n.exited)
		exits <- n // there is room for every node
	}()
	return nil
}

// stop stops the node in order, and without when that takes too long.
func (n *devNode) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-n.exited:
	case <-time.After(devStop):
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
}

// lineWriter mixes the lines of several writers without tearing them.
type lineWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *lineWriter) print(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = io.WriteString(w.to, text) // a terminal that is gone; the nodes run on
}

// node returns a writer whose lines begin with the node's name.
func (w *lineWriter) node(k int) io.Writer {
	return &nodeWriter{to: w, prefix: fmt.Sprintf("node %d | ", k)}
}

// maxLine bounds what is kept of a line whose end has not come yet.
const maxLine = 64 << 10

// nodeWriter passes on whole lines, each with a prefix.
type nodeWriter struct {
	to      *lineWriter
	prefix  string
	partial []byte
}

func (w *nodeWriter) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		end := bytes.IndexByte(w.partial, '\n') + 1
		if end == 0 && len(w.partial) > maxLine {
			w.partial = append(w.partial, '\n')
			end = len(w.partial)
		}
		if end == 0 {
			return len(p), nil
		}
		w.to.print(w.prefix + string(w.partial[:end]))
		w.partial = w.partial[end:]
	}
}
