package mesh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/test"
)

// TestTheTutorialPrintsWhatItShows runs the tutorial's own commands in a shell: curl is the real one, against Envoy and our
// binaries; kubectl is the stand-in. Their output is compared with the tutorial, under
// continuous load, of which no request may fail.
func TestTheTutorialPrintsWhatItShows(t *testing.T) {
	for _, track := range tracks {
		t.Run(track.name, func(t *testing.T) { printWhatItShows(t, track) })
	}
}

func printWhatItShows(t *testing.T, track track) {
	// A stock Envoy does not have these two extensions of Istio's own build.
	test.SetForTest(t, &features.MetadataExchange, false)
	test.SetForTest(t, &features.ALPNFilter, false)
	s := newStage(t, track)
	k := &kubectl{cluster: s.cluster, changed: s.changed, runJob: s.runJob, done: map[string]bool{}, ingress: s.ingress()}
	shell := newShell(t, k)
	var people *load
	var back []block
	blocks := track.of(tutorial(t))
	for i, b := range blocks {
		if b.step() == "Step 4" && b.isWayBack() {
			back = append(back, b)
			if blocks[i+1].step() != b.step() {
				thereAndBack(t, s, shell, mainWay(blocks, b.step()), back)
			}
		}
		if !b.isStep() || b.isWayBack() || strings.HasPrefix(b.commands, "istioctl") {
			continue // istioctl needs a cluster
		}
		started := time.Now()
		printed := shell.run(b.commands)
		if settle(printed, b.output, func() string { printed = shell.run(b.commands); return printed }, b.commands) {
			t.Logf("%s, %.1f s: as shown: %s", b.step(), time.Since(started).Seconds(), firstLine(b.commands))
		} else {
			t.Errorf("%s\n%s\nThe tutorial shows:\n%s\nIt prints:\n%s", b.section, b.commands, b.output, printed)
		}
		if strings.HasPrefix(b.commands, "INGRESS_IP=") {
			// From here on the gateway has an address, so Envoy must run, too.
			if err := waitForOK("http://" + s.ingress() + "/"); err != nil {
				t.Fatal(err)
			}
			people = startLoad("http://"+s.ingress()+"/", s.during)
			t.Cleanup(func() { people.finish() })
		}
		if check := browsersAfter[b.step()]; check != nil && (i+1 == len(blocks) || blocks[i+1].subsection != b.subsection) {
			check(t, s)
		}
		if t.Failed() {
			break
		}
	}
	if people == nil {
		t.Fatal("the tutorial never asks for the gateway's address")
	}
	asked, failed := people.finish()
	t.Logf("People asked for the page %d times all the while; %d requests failed, %d pages did without late results.",
		asked, len(failed), people.late.Load())
	if !people.isMostlyInTime() {
		t.Error("too many pages did without results")
	}
	if len(failed) > 0 {
		t.Errorf("the first failures:\n%s", strings.Join(failed[:min(len(failed), 10)], "\n"))
	}
}

// mainWay are the blocks of a step without its way back.
func mainWay(blocks []block, step string) []block {
	return slices.DeleteFunc(slices.Clone(blocks), func(b block) bool { return b.step() != step || b.isWayBack() })
}

// settle compares the output with the tutorial. Commands that only read are repeated for a short time: a change takes a
// moment to arrive at Envoy, as in a cluster.
func settle(printed, shown string, again func() string, commands string) bool {
	onlyReads := strings.HasPrefix(commands, "for i in") || strings.HasPrefix(commands, "curl -si")
	for deadline := time.Now().Add(5 * time.Second); ; printed = again() {
		if same(commands, printed, shown) {
			return true
		}
		if !onlyReads || time.Now().After(deadline) {
			return false
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var counted = regexp.MustCompile(`(?m)^ *\d+ `)

func same(commands, printed, shown string) bool {
	printed = strings.ReplaceAll(printed, "\r", "")
	if strings.Contains(commands, "uniq -c") {
		// The cohort of a browser is random.
		printed, shown = counted.ReplaceAllString(printed, ""), counted.ReplaceAllString(shown, "")
	}
	return printed == shown
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// shell runs commands in bash, with the stand-in for kubectl in the path.
type shell struct {
	t       *testing.T
	path    string
	ingress string
}

type invocation struct {
	Args  []string
	Stdin string
}

func newShell(t *testing.T, k *kubectl) *shell {
	t.Helper()
	directory := t.TempDir()
	socket := filepath.Join(directory, "kubectl.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call invocation
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		output, err := k.run(call.Args, strings.NewReader(call.Stdin))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		_, _ = io.WriteString(w, output)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nKUBECTL_SOCKET=%s exec %s \"$@\"\n", socket, self)
	if err := os.WriteFile(filepath.Join(directory, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return &shell{t: t, path: directory, ingress: k.ingress}
}

func (s *shell) run(commands string) string {
	s.t.Helper()
	command := exec.Command("bash", "-c", "set -eu\n"+commands)
	command.Dir = root
	command.Env = append(os.Environ(), "PATH="+s.path+":"+os.Getenv("PATH"), "INGRESS_IP="+s.ingress)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		s.t.Errorf("%s\n%v\n%s", commands, err, stderr.String())
	}
	return stdout.String()
}

// actAsKubectl runs when the shell calls the test program as kubectl.
func actAsKubectl(socket string) int {
	call := invocation{Args: os.Args[1:]}
	if slices.Contains(call.Args, "/dev/stdin") {
		content, err := io.ReadAll(os.Stdin)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		call.Stdin = string(content)
	}
	body, err := json.Marshal(call)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	client := http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) {
		return net.Dial("unix", socket)
	}}}
	response, err := client.Post("http://kubectl/", "application/json", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		_, _ = io.Copy(os.Stderr, response.Body)
		return 1
	}
	_, _ = io.Copy(os.Stdout, response.Body)
	return 0
}
