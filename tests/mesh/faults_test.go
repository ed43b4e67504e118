package mesh

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/test"
)

// TestTheMeshHas20Fail applies the exercise of docs/rehearsals.md to the real Envoy, and takes it back: browsers with the flag get
// errors and wait, all others do not notice.
func TestTheMeshHas20Fail(t *testing.T) {
	// A stock Envoy does not have these two extensions of Istio's own build.
	test.SetForTest(t, &features.MetadataExchange, false)
	test.SetForTest(t, &features.ALPNFilter, false)
	s := newStage(t, istioTrack)
	k := &kubectl{cluster: s.cluster, changed: s.changed, runJob: s.runJob, done: map[string]bool{}, ingress: s.ingress()}
	for _, b := range istioTrack.of(tutorial(t)) {
		if b.step() == "Step 3b" {
			break
		}
		if b.isStep() && !b.isWayBack() {
			runBlock(t, k, b)
		}
	}
	if err := waitForOK("http://" + s.ingress() + "/"); err != nil {
		t.Fatal(err)
	}
	apply := func(file, want string) {
		t.Helper()
		printed, err := k.run([]string{"apply", "-f", file, "--namespace", namespace}, strings.NewReader(""))
		if err != nil || !strings.HasSuffix(printed, want) {
			t.Fatalf("%s: %v\n%s", file, err, printed)
		}
	}
	changed := "virtualservice.networking.istio.io/voting-app configured\n"
	apply("istio/faults/step-3-faults-of-2.0.yaml", changed)
	for workload, want := range map[string]string{app1: "", app2: "app-2-0"} {
		if faulty := faultyRoutes(s, workload); faulty != want {
			t.Errorf("the routes of %s with faults: %q, want %q", workload, faulty, want)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for faultsOf(t, s, "featureflag=on", 20).aborted == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no request fails")
		}
	}
	bad, good := faultsOf(t, s, "featureflag=on", 300), faultsOf(t, s, "a=b", 300)
	t.Logf("300 requests each: of 2.0 %+v, of 1.0 %+v", bad, good)
	if bad.aborted < 10 || bad.aborted > 60 || bad.slow < 10 || bad.slow > 100 {
		t.Errorf("of 300 requests for 2.0: %+v", bad)
	}
	if good.aborted > 0 {
		t.Errorf("of 300 requests for 1.0: %+v", good)
	}
	apply("istio/step-3-add-routing-for-2.0-components.yaml", changed)
	time.Sleep(time.Second)
	if bad := faultsOf(t, s, "featureflag=on", 100); bad.aborted > 0 {
		t.Errorf("after the way back: %+v", bad)
	}
}

// faultyRoutes are the names of a sidecar's routes that have faults.
func faultyRoutes(s *stage, workload string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var names []string
	for _, routes := range s.mesh.simulationOf(s.mesh.pod(workload)).Routes {
		for _, host := range routes.GetVirtualHosts() {
			for _, route := range host.GetRoutes() {
				if _, found := route.GetTypedPerFilterConfig()["envoy.filters.http.fault"]; found {
					names = append(names, route.GetName())
				}
			}
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// faults are the requests that failed or took as long as a delayed one.
type faults struct{ aborted, slow int }

func faultsOf(t *testing.T, s *stage, cookie string, requests int) faults {
	t.Helper()
	var all faults
	var mutex sync.Mutex
	var running sync.WaitGroup
	places := make(chan struct{}, 20)
	for range requests {
		running.Add(1)
		places <- struct{}{}
		go func() {
			defer func() { <-places; running.Done() }()
			aborted, took, err := visit(s, cookie)
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				t.Error(err)
			}
			if aborted {
				all.aborted++
			}
			if took >= 2*time.Second {
				all.slow++
			}
		}()
	}
	running.Wait()
	return all
}

func visit(s *stage, cookie string) (aborted bool, took time.Duration, err error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+s.ingress()+"/", nil)
	if err != nil {
		return false, 0, err
	}
	request.Header.Set("Cookie", cookie)
	start := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return false, 0, err
	case response.StatusCode == http.StatusInternalServerError && response.Header.Get("x-voting-path") == "":
		return true, time.Since(start), nil
	case response.StatusCode != http.StatusOK:
		return false, 0, fmt.Errorf("%s: %s", response.Status, body)
	}
	return false, time.Since(start), nil
}
