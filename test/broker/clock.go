package brokertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BuildWithClock builds a waybill binary whose clock jumps on a signal (cmd/waybill/clock.go). A Go
// program asks the kernel for the time without any library that could be replaced, so it is the package
// time that is: time.Now adds what the clock has jumped by. As with a clock that is set, the
// monotonic clock does not know of it. Nothing else differs.
func BuildWithClock(t testing.TB) string {
	t.Helper()
	overlay, err := clockOverlay(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Build(t, "-tags=waybill_clock", "-overlay="+overlay)
}

// What is replaced in the package time.
var (
	readClock = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n"
	withJump  = "\tsec, nsec, mono := runtimeNow()\n\tsec += Jump.Load()\n\tif mono == 0 {\n"
	addJump   = "\n// Jump is how many seconds the clock has jumped by.\nvar Jump atomic.Int64\n"
	imports   = "import (\n"
)

// clockOverlay writes the replacement, and the file that names it to go build.
func clockOverlay(dir string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	text := string(source)
	if strings.Count(text, readClock) != 1 || !strings.Contains(text, imports) {
		return "", fmt.Errorf("%s reads the clock in another way than this test knows", original)
	}
	text = strings.Replace(text, readClock, withJump, 1)
	text = strings.Replace(text, imports, imports+"\t\"sync/atomic\"\n", 1) + addJump
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	names, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	return overlay, errors.Join(err, os.WriteFile(replacement, []byte(text), 0o600), os.WriteFile(overlay, names, 0o600))
}
