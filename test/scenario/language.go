package scenario

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"rsc.io/script"

	"waybill/test/powercut"
)

// verb is a command of the language.
type verb struct {
	args    string
	summary string
	detail  []string
	run     func(context.Context, *world, *phrase) error
}

// patience is how long a command may take that does not say so itself.
const patience = time.Minute

// verbs is the language. It is a function because a verb may take a command as its argument.
func verbs() map[string]verb {
	all := map[string]verb{}
	for _, part := range parts() {
		maps.Copy(all, part.verbs)
	}
	return all
}

// part is a chapter of the language.
type part struct {
	title string
	verbs map[string]verb
}

func parts() []part {
	return []part{
		{"Nodes", nodeVerbs},
		{"The network", networkVerbs},
		{"Membership and leaders", memberVerbs},
		{"Clients", clientVerbs},
		{"What must be seen", expectVerbs},
		{"Else", map[string]verb{"within": {
			args: "DURATION COMMAND...", summary: "run a command, which must be done in that time",
			detail: []string{"For bounds of the product: \"within 3s publish orders 1\" after a kill says how long publishers may wait."},
			run:    within,
		}, "skip": {
			args: "REASON", summary: "end the scenario here: it cannot be run on this machine",
			run: func(_ context.Context, _ *world, p *phrase) error { return skipped(p.word("a reason")) },
		}}},
	}
}

// engine binds the language to one scenario's world.
func (w *world) engine() *script.Engine {
	e := &script.Engine{Cmds: map[string]script.Cmd{}, Conds: map[string]script.Cond{
		"root": script.BoolCondition("disks can lose their power here: the tests run as root, and there are loop devices", powercut.Unavailable() == nil),
		"kcat": script.BoolCondition("kcat is installed", installed("kcat")),
	}}
	for name, v := range verbs() {
		usage := script.CmdUsage{Summary: v.summary, Args: v.args, Detail: v.detail}
		e.Cmds[name] = script.Command(usage, func(s *script.State, args ...string) (script.WaitFunc, error) {
			return nil, w.do(s.Context(), name, args)
		})
	}
	return e
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// do runs one command to its end.
func (w *world) do(ctx context.Context, name string, args []string) error {
	v, ok := verbs()[name]
	if !ok {
		return fmt.Errorf("there is no command %q", name)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := &phrase{words: args}
	err := v.run(ctx, w, p)
	if p.err != nil { // the line itself is wrong
		err = fmt.Errorf("%w; it is: %s %s", p.err, name, v.args)
	}
	return err
}

func within(ctx context.Context, w *world, p *phrase) error {
	limit, command := p.duration(), p.rest()
	if len(command) == 0 {
		return p.miss("a command")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err := w.do(ctx, command[0], command[1:])
	if took := time.Since(began); err == nil && took > limit {
		err = fmt.Errorf("it took %v", took.Round(time.Millisecond))
	}
	return err
}

// skipped ends a scenario that cannot be run.
type skipped string

func (s skipped) Error() string { return string(s) }

// Describe writes the language down, as LANGUAGE.md has it.
func Describe() string {
	var b bytes.Buffer
	b.WriteString(languageHead)
	for _, part := range parts() {
		fmt.Fprintf(&b, "\n## %s\n", part.title)
		for _, name := range slices.Sorted(maps.Keys(part.verbs)) {
			v := part.verbs[name]
			fmt.Fprintf(&b, "\n**`%s`** – %s.", strings.TrimSpace(name+" "+v.args), v.summary)
			for _, line := range v.detail {
				fmt.Fprintf(&b, " %s", line)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

const languageHead = `# The language of scenarios

*Written by go test ./test/scenario -run TestLanguage -update.* How scenarios are read and run is in ` + "[doc.go](doc.go)" + `; those that there are
are good examples: ` + "[testdata](testdata)" + `.

NAME is the name of a queue or topic. WHO says which nodes are meant:

| WHO | |
|---|---|
| 2 | node 2 |
| leader NAME | the node that leads the queue, or the topic's first partition |
| follower NAME | the first node that runs, holds it and does not lead it |
| coordinator NAME | the node that coordinates the consumer group of a topic |
| controller | the node that leads the catalog |
| it | the nodes that the last WHO meant |
| others | all nodes but those |
| survivors, dead | the nodes whose process runs, or does not |
| all | all nodes |

Conditions: [root] where disks can lose their power, [kcat] where kcat is installed; [!root] where not.
`
