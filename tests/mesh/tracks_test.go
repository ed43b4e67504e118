package mesh

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// outcomes are the ends of all calls: of browsers with every cookie, and of every workload to every service.
func outcomes(m *meshUnderTest) map[string]string {
	var calls []request
	draws := [][]string{nil, {"votingcanary=1.0"}, {"votingcanary=2.0"}, {"votingcanary=1.0; featureflag=on"}, {"votingcanary=2x0"}}
	for _, cookies := range slices.Concat(draws, flagVariants, otherVariants) {
		calls = append(calls, request{from: gatewayName, cookies: cookies})
	}
	for _, caller := range []string{app1, app2, analytics10, analytics11, analytics2, storage1, storage2, transfer, transferBack} {
		if !m.has(caller) {
			continue
		}
		for _, plaintext := range []bool{false, true} {
			calls = append(calls,
				request{from: caller, service: "voting-app", port: web, plaintext: plaintext},
				request{from: caller, service: "voting-analytics", port: web, plaintext: plaintext},
				request{from: caller, service: "voting-storage", port: redis, plaintext: plaintext},
				request{from: caller, service: "voting-storage", port: mysql, plaintext: plaintext})
		}
	}
	ends := map[string]string{}
	for _, call := range calls {
		ends[fmt.Sprintf("%s, plaintext: %t", right{request: call}.describe(), call.plaintext)] = m.reach(call).String()
	}
	return ends
}

// assertSameOutcomes compares the tracks in every state of the tutorial.
func assertSameOutcomes(t *testing.T, istio, api map[string]map[string]string) {
	compared := 0
	for state, ends := range istio {
		if len(api[state]) != len(ends) {
			t.Errorf("%s: %d calls with the Gateway API, %d with Istio", state, len(api[state]), len(ends))
		}
		for call, end := range ends {
			compared++
			if other := api[state][call]; other != end {
				t.Errorf("%s: %s\n  ends with Istio at           %s\n  with the Gateway API at %s", state, call, end, other)
			}
		}
	}
	t.Logf("%d calls in %d states end at the same releases", compared, len(istio))
	if len(istio) < 10 || compared < 200 {
		t.Error("these are not all")
	}
}

// steps are the names of the tutorial's steps in order.
var steps = []string{"Step 1", "Step 2", "Step 3", "Step 3b", "Step 4", "Step 5"}

// atStep is a cluster after the main way of a track up to a step.
func atStep(t *testing.T, track track, last string) *cluster {
	t.Helper()
	k := &kubectl{cluster: newClusterOf(track), changed: func(string) error { return nil }}
	for _, b := range track.of(tutorial(t)) {
		if b.isStep() && !b.isWayBack() && slices.Index(steps, b.step()) <= slices.Index(steps, last) {
			follow(t, k, b)
		}
	}
	return k.cluster
}

// TestTheCreatedGatewayNeedsItsPolicies removes one policy after the other: without it, no browser reaches the app. The
// gateway runs in the app's namespace, where everything is denied that is not allowed.
func TestTheCreatedGatewayNeedsItsPolicies(t *testing.T) {
	c := atStep(t, apiTrack, "Step 2")
	for key, want := range map[string]string{
		"": app1 + " 100",
		"networkpolicy.networking.k8s.io/voting-app-gateway":            dropped + " 100",
		"networkpolicy.networking.k8s.io/voting-app-from-gateway":       dropped + " 100",
		"authorizationpolicy.security.istio.io/voting-app-gateway":      denied + " 100",
		"authorizationpolicy.security.istio.io/voting-app-from-gateway": denied + " 100",
	} {
		without := c.clone()
		without.delete(key)
		if got := newMesh(t, without).reach(request{from: gatewayName}).String(); got != want {
			t.Errorf("without %q: %s, want %s", key, got, want)
		}
	}
}

// TestTheHeaderOfTheAppGivesNoPermission: the route of the canary goes by a header that every caller can send. The policies go by
// identity: with another release's header, a call is denied.
func TestTheHeaderOfTheAppGivesNoPermission(t *testing.T) {
	m := newMesh(t, atStep(t, apiTrack, "Step 3"))
	for agent, want := range map[string]map[string]string{
		"voting-app/1.0": {app1: analytics11 + " 100", app2: denied + " 100", analytics11: denied + " 100"},
		"voting-app/2.0": {app1: denied + " 100", app2: analytics2 + " 100", analytics2: denied + " 100"},
		"curl/8.0":       {app1: analytics11 + " 100", app2: denied + " 100"},
	} {
		for caller, want := range want {
			call := request{from: caller, service: "voting-analytics", port: web, agent: agent}
			if got := m.reach(call).String(); got != want {
				t.Errorf("%s as %s: %s, want %s", caller, agent, got, want)
			}
		}
	}
}

var fromStep = regexp.MustCompile(`(From|In) step (\w+) (?:on|alone)[^.]*:\n\n$`)

// change are the blocks of the tutorial that change a poll after a step to another track: those that create its routes, and those
// that remove the others.
func change(t *testing.T, to track, step string) (create, remove []block) {
	t.Helper()
	headings := map[string]string{apiTrack.name: "From Istio to the Gateway API", istioTrack.name: "From the Gateway API to Istio"}
	for _, b := range tutorial(t) {
		if b.section != "Change the track" || b.subsection != headings[to.name] {
			continue
		}
		if from := fromStep.FindStringSubmatch(b.before); from == nil {
			remove = append(remove, b)
		} else if first := "Step " + from[2]; first == step || from[1] == "From" && slices.Index(steps, first) < slices.Index(steps, step) {
			create = append(create, b)
		}
	}
	if len(create) <= slices.Index(steps, step) || len(remove) != 1 {
		t.Fatalf("after %s: %d blocks create the routes, and %d remove the old ones", step, len(create), len(remove))
	}
	return create, remove
}

// TestTheTrackCanBeChangedAtEveryStep changes a poll to the other track and back after each step. After every single document the
// gateway in use serves, while both have all routes the step's table holds for both, and in the end nothing of the old
// track is left.
func TestTheTrackCanBeChangedAtEveryStep(t *testing.T) {
	for _, step := range steps {
		for i, from := range tracks {
			to := tracks[1-i]
			t.Run(step+", to "+to.name, func(t *testing.T) {
				c := atStep(t, from, step)
				create, remove := change(t, to, step)
				k := &kubectl{cluster: c, changed: func(what string) error { return stillServed(t, c, from, what) }}
				for _, b := range create {
					runBlock(t, k, b)
				}
				assertTable(t, c, step)
				c.gateway = to.gateway
				assertTable(t, c, step)
				k.changed = func(what string) error { return stillServed(t, c, to, what) }
				for _, b := range remove {
					runBlock(t, k, b)
				}
				assertTable(t, c, step)
				want := atStep(t, to, step)
				if got, want := strings.Join(c.sortedKeys(), "\n"), strings.Join(want.sortedKeys(), "\n"); got != want {
					t.Errorf("there is\n%s\nbut after the steps of %s there is\n%s", got, to.name, want)
				}
				for key, d := range want.documents {
					if c.documents[key].text != d.text {
						t.Errorf("another %s than after the steps of %s", key, to.name)
					}
				}
			})
		}
	}
}
