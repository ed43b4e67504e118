package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/test"
)

// theDetour is step 2b in its place: the blocks before it, its own, its way back, and those of step 3 that follow.
func theDetour(t *testing.T, track track) (before, forward, back, after []block) {
	t.Helper()
	isDeployed := false
	for _, b := range track.of(tutorial(t)) {
		switch {
		case b.step() == detour && b.isWayBack():
			back = append(back, b)
		case b.step() == detour:
			forward = append(forward, b)
		case !b.isStep() || b.isWayBack() || strings.HasPrefix(b.commands, "istioctl"):
		case b.step() == "Step 3" && isDeployed:
			after = append(after, b)
		case b.step() == "Step 1" || b.step() == "Step 2" || b.step() == "Step 3":
			before = append(before, b)
			isDeployed = strings.Contains(b.commands, "--selector version=2.0")
		}
	}
	if len(forward) == 0 || len(back) == 0 || len(after) == 0 {
		t.Fatalf("%d blocks of %s, %d of its way back, %d after it", len(forward), detour, len(back), len(after))
	}
	return before, forward, back, after
}

// TestTheDetourServesEverybodyAndChangesNothingElse takes step 2b document by document, and ends where step 3 does without it.
func TestTheDetourServesEverybodyAndChangesNothingElse(t *testing.T) {
	for _, track := range tracks {
		t.Run(track.name, func(t *testing.T) {
			before, forward, back, after := theDetour(t, track)
			k := &kubectl{cluster: newClusterOf(track)}
			k.changed = func(what string) error { return stillServed(t, k.cluster, track, what) }
			take := func(blocks []block) {
				for _, b := range blocks {
					if !strings.HasPrefix(b.commands, "kubectl logs") {
						follow(t, k, b)
					}
				}
			}
			take(before)
			deployed := k.cluster.clone()
			take(forward)
			assertTable(t, k.cluster, detour)
			mirrored := k.cluster.clone()
			take(back)
			assertSameDocuments(t, k.cluster, deployed)
			take(after)
			assertSameDocuments(t, k.cluster, atStep(t, track, "Step 3"))
			// Step 3 may follow without the way back.
			k.cluster = mirrored
			for _, b := range after {
				runBlock(t, k, b)
			}
			assertSameDocuments(t, k.cluster, atStep(t, track, "Step 3"))
		})
	}
}

func assertSameDocuments(t *testing.T, got, want *cluster) {
	t.Helper()
	for key, d := range want.documents {
		if got.documents[key].text != d.text {
			t.Errorf("another %s", key)
		}
	}
	if len(got.documents) != len(want.documents) {
		t.Errorf("%d documents, want %d", len(got.documents), len(want.documents))
	}
}

// mirrorStage is the real Envoy with 2.0 deployed and no browser on it.
type mirrorStage struct {
	*stage
	kubectl *kubectl
	back    []block
	forward []block
}

func newMirrorStage(t *testing.T, track track) *mirrorStage {
	t.Helper()
	// A stock Envoy does not have these two extensions of Istio's own build.
	test.SetForTest(t, &features.MetadataExchange, false)
	test.SetForTest(t, &features.ALPNFilter, false)
	s := newStage(t, track)
	k := &kubectl{cluster: s.cluster, changed: s.changed, runJob: s.runJob, done: map[string]bool{}, ingress: s.ingress()}
	before, forward, back, _ := theDetour(t, track)
	m := &mirrorStage{s, k, back, forward}
	for _, b := range before {
		runBlock(t, k, b)
	}
	if err := waitForOK("http://" + s.ingress() + "/"); err != nil {
		t.Fatal(err)
	}
	return m
}

// take runs the commands for kubectl, and votes of none.
func (m *mirrorStage) take(blocks []block) {
	m.t.Helper()
	for _, b := range blocks {
		if !strings.HasPrefix(b.commands, "kubectl logs") {
			runBlock(m.t, m.kubectl, b)
		}
	}
}

// sum adds up a metric of a workload's pods: the samples whose labels match.
func (m *mirrorStage) sum(workload, name, labels string) int {
	m.t.Helper()
	sample := regexp.MustCompile(`(?m)^` + name + `\{(.*)\} ([0-9.]+)`)
	matching := regexp.MustCompile(labels)
	total := 0
	for pod, one := range m.pods {
		if !strings.HasPrefix(pod, workload+"-") || one.process == nil {
			continue
		}
		_, text := m.read(fmt.Sprintf("http://%s:%d/metrics", one.ip, one.admin), "")
		for _, found := range sample.FindAllStringSubmatch(text, -1) {
			if matching.MatchString(found[1]) {
				value, err := strconv.ParseFloat(found[2], 64)
				if err != nil {
					m.t.Fatal(err)
				}
				total += int(value)
			}
		}
	}
	return total
}

const requests, votes = "http_request_duration_seconds_count", "voting_votes_total"

// views are the page views that app 2.0 has answered.
func (m *mirrorStage) views() int {
	m.t.Helper()
	return m.sum(app2, requests, `method="GET",route="/"`)
}

// read returns the header and the body of an answer.
func (m *mirrorStage) read(address, cookie string) (http.Header, string) {
	m.t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if cookie != "" {
		request.Header.Set("Cookie", cookie)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s %v\n%s", address, response.Status, err, tail(string(body), 500))
	}
	return response.Header, string(body)
}

var (
	ballotField = regexp.MustCompile(`name="ballot" value="([^"]+)"`)
	catsAndDogs = regexp.MustCompile(`id="results"> Cats: (\d+)[^|]*\| Dogs: (\d+)`)
)

// cast votes through the gateway, with the page's ballot or without one, and returns the status.
func (m *mirrorStage) cast(withBallot bool, origin string) int {
	m.t.Helper()
	page := "http://" + m.ingress() + "/"
	form := url.Values{"vote": {"Cats"}}
	if withBallot {
		_, body := m.read(page, "")
		form.Set("ballot", ballotField.FindStringSubmatch(body)[1])
	}
	request, err := http.NewRequest(http.MethodPost, page, strings.NewReader(form.Encode()))
	if err != nil {
		m.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if origin != "" {
		request.Header.Set("Origin", origin)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// tallies are the votes that the pages of 1.0 and of 2.0 show, each asked without the gateway.
func (m *mirrorStage) tallies() (of1, of2 int) {
	m.t.Helper()
	tally := func(workload string) int {
		_, body := m.read("http://"+m.serving(workload)[0]+"/", "")
		found := catsAndDogs.FindStringSubmatch(body)
		if found == nil {
			m.t.Fatalf("%s shows no results:\n%s", workload, body)
		}
		cats, _ := strconv.Atoi(found[1])
		dogs, _ := strconv.Atoi(found[2])
		return cats + dogs
	}
	return tally(app1), tally(app2)
}

// until waits for a condition, for a minute at most.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestPageViewsAreMirroredAndVotesAreNot takes step 2b on the real Envoy: each page view reaches app 2.0 as well, whose answer
// nobody sees; votes and live results do not; and a frozen 2.0 disturbs no browser.
func TestPageViewsAreMirroredAndVotesAreNot(t *testing.T) {
	for _, track := range tracks {
		t.Run(track.name, func(t *testing.T) { mirrorPageViews(t, track) })
	}
}

func mirrorPageViews(t *testing.T, track track) {
	m := newMirrorStage(t, track)
	page := "http://" + m.ingress() + "/"
	if seen := m.views(); seen != 0 {
		t.Fatalf("app 2.0 has %d page views before the step", seen)
	}
	people := startLoad(page, m.during)
	t.Cleanup(func() { people.finish() })
	m.take(m.forward)
	until(t, "page views of app 2.0", func() bool { return m.views() > 0 })

	for _, cookie := range []string{"", "featureflag=on"} {
		header, _ := m.read(page, cookie)
		if path := header.Get("x-voting-path"); !strings.HasPrefix(path, "app=1.0,") {
			t.Errorf("a browser with the cookie %q gets %s", cookie, path)
		}
		if cookies := header.Values("Set-Cookie"); len(cookies) > 1 {
			t.Errorf("a browser gets cookies of two releases: %q", cookies)
		}
	}

	const n = 50
	before1, before2 := m.tallies()
	for range n {
		if status := m.cast(true, ""); status != http.StatusSeeOther {
			t.Fatalf("a vote is answered with %d", status)
		}
	}
	leave := m.follow("/events")
	if viewers := m.sum(app1, "voting_viewers", ""); viewers != 1 {
		t.Errorf("app 1.0 has %d viewers, want 1", viewers)
	}
	// What came before this view has arrived.
	views := m.views()
	until(t, "later page views", func() bool { return m.views() >= views+20 })
	leave()
	others := m.sum(app2, requests, `method="[^G]|route="/[^"]`)
	after1, after2 := m.tallies()
	if others != 0 || after1 != before1+n || after2 != before2 {
		t.Errorf("of %d votes 1.0 counted %d and 2.0 %d; 2.0 had %d requests of other kinds", n, after1-before1, after2-before2, others)
	}
	if viewers := m.sum(app2, "voting_viewers", ""); viewers != 0 {
		t.Errorf("app 2.0 has %d viewers", viewers)
	}

	// Frozen pods neither answer nor refuse.
	m.signal(syscall.SIGSTOP)
	start := time.Now()
	for range 100 {
		m.read(page, "")
	}
	took := time.Since(start)
	m.signal(syscall.SIGCONT)
	t.Logf("100 page views while app 2.0 is frozen: %.2f s", took.Seconds())
	if took > 20*time.Second {
		t.Errorf("browsers wait for app 2.0: 100 page views took %s", took)
	}
	until(t, "page views after that", func() bool { return m.views() > views })

	m.take(m.back)
	until(t, "no more copies", func() bool {
		views := m.views()
		for range 20 {
			m.read(page, "")
		}
		time.Sleep(200 * time.Millisecond)
		return m.views() == views
	})
	asked, failed := people.finish()
	t.Logf("%d page views beside it, %d failed", asked, len(failed))
	if len(failed) > 0 || !people.isMostlyInTime() {
		t.Errorf("%d without results; the first failures:\n%s", people.late.Load(), strings.Join(failed[:min(len(failed), 10)], "\n"))
	}
}

// follow opens a stream through the gateway, and returns the function that leaves it.
func (m *mirrorStage) follow(path string) context.CancelFunc {
	m.t.Helper()
	bounded, cancel := context.WithCancel(m.t.Context())
	request, err := http.NewRequestWithContext(bounded, http.MethodGet, "http://"+m.ingress()+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := response.Body.Read(make([]byte, 1)); err != nil {
		m.t.Fatal(err)
	}
	return func() { cancel(); response.Body.Close() }
}

// signal sends a signal to the programs of app 2.0.
func (m *mirrorStage) signal(signal syscall.Signal) {
	m.t.Helper()
	for name, pod := range m.pods {
		if strings.HasPrefix(name, app2+"-") && pod.process != nil {
			if err := pod.process.command.Process.Signal(signal); err != nil {
				m.t.Fatal(err)
			}
		}
	}
}

// mirrorEverything applies the route of step 2b for all requests, votes and streams as well, with copies for this subset.
func (m *mirrorStage) mirrorEverything(subset string) {
	m.t.Helper()
	for _, d := range readManifest(m.t, "istio/step-2b-mirror-page-views-to-2.0.yaml") {
		if strings.HasPrefix(d.key, "virtualservice") {
			var content map[string]any
			if err := json.Unmarshal([]byte(d.text), &content); err != nil {
				m.t.Fatal(err)
			}
			spec := content["spec"].(map[string]any)
			route := spec["http"].([]any)[0].(map[string]any)
			delete(route, "match")
			route["mirror"].(map[string]any)["subset"] = subset
			spec["http"] = []any{route}
			text, err := json.Marshal(content)
			if err != nil {
				m.t.Fatal(err)
			}
			if d, err = parseDocument(text); err != nil {
				m.t.Fatal(err)
			}
		}
		if err := m.changed(m.cluster.apply(d)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// outcomes of votes that a release has answered.
func (m *mirrorStage) outcomes(workload, outcome string) int {
	m.t.Helper()
	return m.sum(workload, votes, `outcome="`+outcome+`"`)
}

// TestAMirroredVoteCountsTwiceWithoutIdsOrInAnotherStore mirrors votes on purpose. To a release on the same store, the second copy
// of a ballot is recognized by its id; without an id, it counts. In a store of its own, each copy counts, and the transfer of
// step 4 adds them up: the id does not help.
func TestAMirroredVoteCountsTwiceWithoutIdsOrInAnotherStore(t *testing.T) {
	m := newMirrorStage(t, istioTrack)
	const n = 50
	// votesOf casts n votes, waits until the copies have been answered, and returns what each store has counted.
	votesOf := func(what, to string, withBallot bool, origin string) (of1, of2 int) {
		t.Helper()
		before1, before2 := m.tallies()
		answered := m.sum(to, requests, `method="POST"`)
		copies := n
		if to == app1 {
			copies = 2 * n // and the votes themselves
		}
		for range n {
			if status := m.cast(withBallot, origin); status != http.StatusSeeOther {
				t.Fatalf("%s: a vote is answered with %d", what, status)
			}
		}
		until(t, what+": the copies", func() bool { return m.sum(to, requests, `method="POST"`) >= answered+copies })
		after1, after2 := m.tallies()
		t.Logf("%s: of %d votes, 1.0 counts %d and 2.0 counts %d", what, n, after1-before1, after2-before2)
		return after1 - before1, after2 - before2
	}
	expect := func(what string, got1, got2, want1, want2 int) {
		t.Helper()
		if got1 != want1 || got2 != want2 {
			t.Errorf("%s: 1.0 counts %d and 2.0 counts %d, want %d and %d", what, got1, got2, want1, want2)
		}
	}
	untilMirrored := func(to string) {
		t.Helper()
		until(t, "copies of votes", func() bool {
			before := m.sum(to, requests, `method="POST"`)
			m.cast(true, "")
			time.Sleep(200 * time.Millisecond)
			alone := map[string]int{app1: 1, app2: 0}[to]
			return m.sum(to, requests, `method="POST"`) > before+alone
		})
	}

	m.mirrorEverything("v1-0")
	untilMirrored(app1)
	repeated := m.outcomes(app1, "already-counted")
	of1, of2 := votesOf("to the same store, with ids", app1, true, "")
	expect("to the same store, with ids", of1, of2, n, 0)
	if again := m.outcomes(app1, "already-counted") - repeated; again != n {
		t.Errorf("%d ballots were recognized, want %d", again, n)
	}
	m.ledger("to the same store")
	of1, of2 = votesOf("to the same store, without ids", app1, false, "")
	expect("to the same store, without ids", of1, of2, 2*n, 0)

	m.mirrorEverything("v2-0")
	untilMirrored(app2)
	m.transfer()
	_, before := m.tallies()
	of1, of2 = votesOf("to another store, with ids", app2, true, "")
	expect("to another store, with ids", of1, of2, n, n)
	m.transfer()
	_, after := m.tallies()
	t.Logf("after the transfer, 2.0 has %d votes more", after-before)
	if after != before+2*n {
		t.Errorf("%d votes, mirrored and transferred, count %d times", n, after-before)
	}
	// Each store is right by itself, so the account of the voters finds nothing.
	m.ledger("to another store")
	// The copy has the host of the page, so app 2.0 takes it for a form of its own.
	of1, of2 = votesOf("to another store, from a browser", app2, true, "http://"+m.ingress())
	expect("to another store, from a browser", of1, of2, n, n)

	leave := m.follow("/events")
	until(t, "the copy of a stream", func() bool { return m.sum(app2, "voting_viewers", "") > 0 })
	leave()
	until(t, "that app 1.0 has no viewer", func() bool { return m.sum(app1, "voting_viewers", "") == 0 })
	time.Sleep(time.Second)
	if viewers := m.sum(app2, "voting_viewers", ""); viewers != 1 {
		t.Errorf("app 2.0 has %d viewers after the browser has left; the comment in the manifest says that its copy stays", viewers)
	}
}

// transfer runs the job of step 4, which merges the votes of 1.0 into the store of 2.0.
func (m *mirrorStage) transfer() {
	m.t.Helper()
	for _, command := range []string{
		"delete job voting-storage-transfer --ignore-not-found",
		"apply -f k8s/step-4-transfer-votes-to-new-storage.yaml",
		"wait --for=condition=complete job/voting-storage-transfer --timeout=15m",
	} {
		if _, err := m.kubectl.run(words(command+" --namespace "+namespace), nil); err != nil {
			m.t.Fatal(err)
		}
	}
}

// ledger has `cargo xtask ledger` account for its own votes through the gateway: every ballot once.
func (m *mirrorStage) ledger(what string) {
	m.t.Helper()
	ledger := exec.Command(filepath.Join(m.binaries, "ledger"), "--url", "http://"+m.ingress(), "--ballots", "300", "--voters", "4", "--retry")
	output, err := ledger.CombinedOutput()
	var lines []string
	for line := range strings.Lines(string(output)) {
		for _, name := range []string{"ballots", "lost", "doubled"} {
			if strings.HasPrefix(line, name+" ") {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	m.t.Logf("%s, the ledger: %s", what, strings.Join(lines, ", "))
	if err != nil {
		m.t.Errorf("%s, the ledger: %v\n%s", what, err, output)
	}
}
