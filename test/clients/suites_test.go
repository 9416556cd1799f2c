//go:build clients

package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// excludedAMQP091 names the tests of amqp091-go's integration suite that are not run, each with
// the reason. There are none.
var excludedAMQP091 = map[string]string{}

// TestAMQP091GoIntegration runs the integration suite of RabbitMQ's Go client against the broker.
func TestAMQP091GoIntegration(t *testing.T) {
	dir := copyModule(t, "github.com/rabbitmq/amqp091-go")
	source, err := os.ReadFile(filepath.Join(dir, "integration_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllSubmatch(source, -1) {
		name := string(match[1])
		if reason, ok := excludedAMQP091[name]; ok {
			t.Logf("not run: %s: %s", name, reason)
			continue
		}
		names = append(names, name)
	}
	if len(names) < 60 {
		t.Fatalf("found only %d tests in the suite", len(names))
	}
	broker := startBroker(t)
	passed := goTest(t, dir, []string{"AMQP_URL=" + amqpURL(broker)},
		"-tags", "integration", "-run", "^("+strings.Join(names, "|")+")$", ".")
	for _, name := range names {
		if !passed[name] {
			t.Errorf("%s did not pass", name)
		}
	}
}

// TestFranzGoGroupETL runs the test with which franz-go proves its consumer groups: records go
// through a chain of groups whose members come and go, each exactly once and in order.
func TestFranzGoGroupETL(t *testing.T) {
	dir := copyModule(t, "github.com/twmb/franz-go")
	broker := startBroker(t, quickGroups)
	passed := goTest(t, dir, []string{
		"KGO_SEEDS=" + broker.Kafka,
		"KGO_TEST_RECORDS=50000",
		"KGO_TEST_RF=1",
		"KGO_LOG_LEVEL=none",
	}, "-run", "^TestGroupETL$", "./pkg/kgo")
	if !passed["TestGroupETL"] {
		t.Error("TestGroupETL did not pass")
	}
}

// copyModule copies the sources of a module, in the version of our go.mod, to a directory where
// its tests can run as its own module.
func copyModule(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", path, err)
	}
	version := strings.TrimSpace(string(out))
	out, err = exec.Command("go", "mod", "download", "-json", path+"@"+version).Output()
	if err != nil {
		t.Fatalf("go mod download %s@%s: %v\n%s", path, version, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(module.Dir)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s", path, version)
	return dir
}

// goTest runs `go test` in another module and returns which top-level tests passed. It prints the
// output when any failed.
func goTest(t *testing.T, dir string, env []string, arguments ...string) map[string]bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-json", "-count=1", "-timeout=5m"}, arguments...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Env = append(cmd.Env, "GOFLAGS=-mod=mod")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, runErr := cmd.Output()

	passed := map[string]bool{}
	outputs := map[string]*strings.Builder{}
	var failed []string
	decoder := json.NewDecoder(bytes.NewReader(out))
	for decoder.More() {
		var event struct{ Action, Test, Output string }
		if err := decoder.Decode(&event); err != nil {
			t.Fatalf("go test -json: %v\n%s", err, out)
		}
		switch event.Action {
		case "output":
			if outputs[event.Test] == nil {
				outputs[event.Test] = &strings.Builder{}
			}
			outputs[event.Test].WriteString(event.Output)
		case "pass":
			passed[event.Test] = true
		case "fail":
			failed = append(failed, event.Test)
		}
	}
	for _, name := range failed {
		t.Logf("%s", lastBytes(fmt.Sprint(outputs[name]), 8192))
	}
	if runErr != nil {
		t.Errorf("go test: %v\n%s", runErr, stderr.String())
	}
	return passed
}

func lastBytes(s string, n int) string {
	return s[max(0, len(s)-n):]
}
