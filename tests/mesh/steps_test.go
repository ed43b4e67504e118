package mesh

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	istiolog "istio.io/istio/pkg/log"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv("KUBECTL_SOCKET"); socket != "" {
		os.Exit(actAsKubectl(socket))
	}
	// The log of the control plane would hide the output of the tests.
	for _, scope := range istiolog.Scopes() {
		scope.SetOutputLevel(istiolog.NoneLevel)
	}
	if os.Getenv("ACT_AS_KUSTOMIZE") != "" {
		os.Exit(actAsKustomize())
	}
	os.Exit(m.Run())
}

// TestEachStepReachesWhatItShould follows the tutorial command by command. After every single document that an API server
// would accept, every legitimate request must succeed; after every step, the step's own table must hold.
func TestEachStepReachesWhatItShould(t *testing.T) {
	ends := map[string]map[string]map[string]string{}
	for _, track := range tracks {
		ends[track.name] = map[string]map[string]string{}
		t.Run(track.name, func(t *testing.T) { takeSteps(t, track, ends[track.name]) })
	}
	t.Run("to the same releases", func(t *testing.T) { assertSameOutcomes(t, ends[istioTrack.name], ends[apiTrack.name]) })
}

// takeSteps follows a track, and notes the ends of all calls in each state.
func takeSteps(t *testing.T, track track, ends map[string]map[string]string) {
	k := &kubectl{cluster: newClusterOf(track)}
	k.changed = func(what string) error { return stillServed(t, k.cluster, track, what) }
	blocks := track.of(tutorial(t))
	checked := map[string]bool{}
	for i, b := range blocks {
		if !b.isStep() {
			continue
		}
		isLast := i+1 == len(blocks) || blocks[i+1].step() != b.step()
		if !b.isWayBack() {
			follow(t, k, b)
		} else if isLast {
			back := slices.DeleteFunc(slices.Clone(blocks), func(one block) bool { return one.step() != b.step() || !one.isWayBack() })
			t.Run(b.step()+", way back", func(t *testing.T) { ends[b.step()+", way back"] = goBack(t, k.cluster, track, back) })
		}
		if isLast {
			t.Run("after "+b.step(), func(t *testing.T) { ends[b.step()] = assertTable(t, k.cluster, b.step()) })
			checked[b.step()] = true
		}
	}
	for step := range tables {
		if !checked[step] && step != detour && !strings.Contains(step, "way back") {
			t.Errorf("the tutorial has no %s", step)
		}
	}
}

// goBack runs the way back of a step on a copy of the cluster.
func goBack(t *testing.T, from *cluster, track track, back []block) map[string]string {
	k := &kubectl{cluster: from.clone()}
	k.changed = func(what string) error { return stillServed(t, k.cluster, track, what) }
	for _, b := range back {
		follow(t, k, b)
	}
	return assertTable(t, k.cluster, back[0].step()+", way back")
}

// follow runs the kubectl commands of a block, and compares what they print if the tutorial shows it.
func follow(t *testing.T, k *kubectl, b block) {
	t.Helper()
	printed, complete := runBlock(t, k, b)
	if complete && printed != b.output {
		t.Errorf("%s\n%s\nThe tutorial shows:\n%s\nIt prints:\n%s", b.section, b.commands, b.output, printed)
	}
}

// runBlock runs the kubectl commands of a block, and returns what they print and whether it has no other commands.
func runBlock(t *testing.T, k *kubectl, b block) (string, bool) {
	t.Helper()
	var printed strings.Builder
	complete := true
	lines := bufio.NewScanner(strings.NewReader(b.commands))
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "kubectl ") {
			complete = false // a command of another kind, which the data plane's test runs
			continue
		}
		line, _, here := strings.Cut(line, "<<END")
		var stdin strings.Builder
		for here && lines.Scan() && lines.Text() != "END" {
			fmt.Fprintln(&stdin, lines.Text())
		}
		output, err := k.run(words(line)[1:], strings.NewReader(stdin.String()))
		if err != nil {
			t.Fatalf("%s\n%s\n%v", b.section, line, err)
		}
		printed.WriteString(output)
	}
	return printed.String(), complete
}

// words splits a command at spaces outside single quotes, which is all of the shell's syntax that the tutorial needs.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			line = strings.ReplaceAll(part, " ", "\x00")
		} else {
			line = part
		}
		all = append(all, line)
	}
	all = strings.Fields(strings.Join(all, ""))
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "\x00", " ")
	}
	return all
}

// stillServed checks that every legitimate request succeeds in the current state of the cluster.
func stillServed(t *testing.T, c *cluster, track track, what string) error {
	if _, found := c.documents[track.entrance]; !found {
		return nil // there is no traffic yet
	}
	m := newMesh(t, c)
	for _, want := range rights(m) {
		for outcome := range m.reach(want.request) {
			if !strings.HasPrefix(outcome, want.prefix) {
				return fmt.Errorf("after %q: %s: %s", what, want.describe(), outcome)
			}
		}
	}
	// Callers without permission must get a denial, not an unroutable request.
	for _, attempt := range attempts(m) {
		if outcome := m.reach(attempt); outcome[missing] > 0 {
			return fmt.Errorf("after %q: %s: %s", what, right{request: attempt}.describe(), missing)
		}
	}
	return nil
}

// attempts are calls between all pairs of workloads, with and without a sidecar.
func attempts(m *meshUnderTest) []request {
	var all []request
	for _, cookie := range []string{"featureflag=on", "votingcanary=1.0", "votingcanary=2.0"} {
		all = append(all, request{from: gatewayName, cookies: []string{cookie}})
	}
	for _, caller := range []string{app1, app2, analytics10, analytics11, analytics2} {
		if m.has(caller) {
			all = append(all,
				request{from: caller, service: "voting-analytics", port: web},
				request{from: caller, service: "voting-storage", port: redis},
				request{from: caller, service: "voting-storage", port: mysql})
		}
	}
	return all
}

// right is a call that must never fail: it must end at a workload with this name prefix.
type right struct {
	request
	prefix string
}

func (r right) describe() string {
	return fmt.Sprintf("%s -> %s:%d %s", r.from, r.service, r.port, strings.Join(r.cookies, "; "))
}

func rights(m *meshUnderTest) []right {
	// The flag causes no error, not even before its release exists.
	all := []right{
		{request{from: gatewayName}, "voting-app-"},
		{request{from: gatewayName, cookies: []string{"featureflag=on"}}, "voting-app-"},
	}
	for app, analytics := range map[string]string{"voting-app-1-0": "voting-analytics-1-", "voting-app-2-0": "voting-analytics-"} {
		if m.has(app) {
			all = append(all, right{request{from: app, service: "voting-analytics", port: 8080}, analytics})
		}
	}
	for _, caller := range []string{"voting-app-1-0", "voting-analytics-1-0", "voting-analytics-1-1"} {
		if m.has(caller) && m.has("voting-storage-1-0") {
			all = append(all, right{request{from: caller, service: "voting-storage", port: 6379}, "voting-storage-1-0"})
		}
	}
	for _, caller := range []string{"voting-app-2-0", "voting-analytics-2-0"} {
		if m.has(caller) {
			all = append(all, right{request{from: caller, service: "voting-storage", port: 3306}, "voting-storage-2-0"})
		}
	}
	return all
}
