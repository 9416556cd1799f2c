package brokertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binaryEnv names a binary to test; it is none of the broker's own settings.
const binaryEnv = "WAYBILL_BINARY"

// builds are the binaries of this test process.
var builds struct {
	sync.Mutex
	dir  string
	made map[string]string // flags → path
}

// Build builds the waybill binary with flags for go build, such as "-tags=x",
// once for each set of flags, and returns its path. The environment variable
// WAYBILL_BINARY names a binary to use instead when there are no flags.
func Build(t testing.TB, flags ...string) string {
	t.Helper()
	if bin := os.Getenv(binaryEnv); bin != "" && len(flags) == 0 {
		return bin
	}
	bin, err := build(flags)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func build(flags []string) (string, error) {
	builds.Lock()
	defer builds.Unlock()
	key := strings.Join(flags, " ")
	if bin := builds.made[key]; bin != "" {
		return bin, nil
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "waybill-test-")
		if err != nil {
			return "", err
		}
		builds.dir, builds.made = dir, make(map[string]string)
	}
	bin := filepath.Join(builds.dir, fmt.Sprintf("waybill%d", len(builds.made)))
	args := append([]string{"build", "-o", bin}, flags...)
	cmd := exec.Command("go", append(args, "waybill/cmd/waybill")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("brokertest: %v: %w\n%s", cmd, err, out)
	}
	builds.made[key] = bin
	return bin, nil
}

// Main runs the tests of a package and removes the binaries that they built:
//
//	func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	builds.Lock()
	defer builds.Unlock()
	if builds.dir != "" {
		if err := os.RemoveAll(builds.dir); err != nil {
			fmt.Fprintln(os.Stderr, "brokertest:", err)
			code = max(code, 1)
		}
	}
	return code
}
