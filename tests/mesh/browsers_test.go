package mesh

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// Browser behavior that curl in the tutorial does not show, tested through the real Envoy at the end of a step.
var browsersAfter = map[string]func(*testing.T, *stage){
	"Step 3":  cookiesPickTheRelease,
	"Step 3b": browsersStayWhereTheyWereSent,
	"Step 4":  nobodyGetsTheOldRelease,
}

// cookiesPickTheRelease tries every variant of the cookie in HTTP/1.1, and in HTTP/2, which may split it.
func cookiesPickTheRelease(t *testing.T, s *stage) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		client := clientOf(protocol)
		for _, group := range []struct {
			variants [][]string
			want     string
		}{{flagVariants, "2.0"}, {otherVariants, "1.0"}, {[][]string{nil}, "1.0"}} {
			for _, cookies := range group.variants {
				if app := appThatServes(t, client, s, protocol, cookies...); app != group.want {
					t.Errorf("%s, cookies %q: app %s, want %s", protocol, cookies, app, group.want)
				}
			}
		}
		t.Logf("%s: %d variants of the cookie tried", protocol, len(flagVariants)+len(otherVariants)+1)
	}
}

// browsersStayWhereTheyWereSent draws until both cohorts have been assigned, and returns to each.
func browsersStayWhereTheyWereSent(t *testing.T, s *stage) {
	drawn := map[string]int{}
	for browsers := 0; browsers < 200 && len(drawn) < 2 || browsers < 20; browsers++ {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar}
		first := appThatServes(t, client, s, "HTTP/1.1")
		drawn[first]++
		for range 3 {
			if again := appThatServes(t, client, s, "HTTP/1.1"); again != first {
				t.Fatalf("a browser that drew %s was sent to %s", first, again)
			}
		}
		place := &url.URL{Scheme: "http", Host: s.ingress()}
		jar.SetCookies(place, append(jar.Cookies(place), &http.Cookie{Name: "featureflag", Value: "on"}))
		if flagged := appThatServes(t, client, s, "HTTP/1.1"); flagged != "2.0" {
			t.Fatalf("a browser that drew %s was sent to %s with the flag", first, flagged)
		}
	}
	t.Logf("Drawn by browsers that stayed: %v", drawn)
	if drawn["1.0"] == 0 || drawn["2.0"] == 0 {
		t.Errorf("the draw has one side only: %v", drawn)
	}
}

func nobodyGetsTheOldRelease(t *testing.T, s *stage) {
	for _, cookies := range append(append([][]string{nil, {"votingcanary=1.0"}}, flagVariants...), otherVariants...) {
		if app := appThatServes(t, http.DefaultClient, s, "HTTP/1.1", cookies...); app != "2.0" {
			t.Errorf("cookies %q: app %s", cookies, app)
		}
	}
}

func clientOf(protocol string) *http.Client {
	transport := &http.Transport{}
	if protocol == "HTTP/2.0" {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return &http.Client{Transport: transport}
}

// appThatServes requests the page and returns the release of the app that rendered it.
func appThatServes(t *testing.T, client *http.Client, s *stage, protocol string, cookies ...string) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+s.ingress()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range cookies {
		request.Header.Add("Cookie", cookie)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.Proto != protocol {
		t.Fatalf("the answer is in %s, not in %s", response.Proto, protocol)
	}
	app, found := strings.CutPrefix(response.Header.Get("x-voting-path"), "app=")
	if !found {
		t.Fatalf("%s, without a path", response.Status)
	}
	release, _, _ := strings.Cut(app, ",")
	return release
}

// thereAndBack takes the way back from step 4, votes on the old release, and finalizes again: no vote is lost or doubled.
func thereAndBack(t *testing.T, s *stage, shell *shell, forward, back []block) {
	t.Helper()
	expect := func(when, want string) {
		t.Helper()
		output := fmt.Sprintf("  <div id=\"results\"> %s </div>\n", want)
		commands := "curl -si $INGRESS_IP | grep results"
		if !settle("", output, func() string { return shell.run(commands) }, commands) {
			t.Errorf("%s it is not %s but %s", when, want, shell.run(commands))
		}
	}
	for _, b := range back {
		shell.run(b.commands)
	}
	expect("On the way back", "Cats: 3/7 (43%) | Dogs: 4/7 (57%)")
	if app := appThatServes(t, http.DefaultClient, s, "HTTP/1.1", "featureflag=on"); app != "1.0" {
		t.Errorf("on the way back the flag leads to %s", app)
	}
	shell.run("curl -s -o /dev/null -d vote=Dogs $INGRESS_IP")
	for _, b := range forward {
		if strings.HasPrefix(b.commands, "kubectl") {
			shell.run(b.commands)
		}
	}
	expect("Finalized again", "Cats: 3/8 (38%) | Dogs: 5/8 (62%)")
	shell.run("kubectl delete job voting-storage-transfer-back --namespace voting")
}
