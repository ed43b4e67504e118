package mesh

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
)

// stage is the whole tutorial with real programs: our binaries for the pods, a real Redis and MySQL behind them, and a
// real Envoy in front, which gets its configuration from Istio's control plane.
//
// The binaries have no sidecars. So the control plane behind Envoy is told that the mesh has no automatic mutual TLS, and
// the pods lack the label that says otherwise: Envoy talks to them in plain text. Among each other they talk through
// stand-ins (sidecar) that ask the simulation, where all have sidecars and mutual TLS is strict.
type stage struct {
	t        *testing.T
	cluster  *cluster
	server   *xds.FakeDiscoveryServer
	listens  int32 // the port of Envoy
	binaries string

	mutex    sync.Mutex
	pods     map[string]*realPod
	sidecars map[string]*sidecar
	mesh     *meshUnderTest
	routes   map[string]reached
	last     string // the last change
}

// realPod is a program, at an address of its own so that Istio can tell the pods apart.
type realPod struct {
	ip      string
	port    int32
	admin   int32
	process *process
}

func newStage(t *testing.T, track track) *stage {
	t.Helper()
	s := &stage{
		t: t, cluster: newCluster(), listens: freePort(t), binaries: setting(t, "VOTING_BINARIES"),
		pods: map[string]*realPod{}, sidecars: map[string]*sidecar{}, routes: map[string]reached{},
	}
	s.cluster.real, s.cluster.gateway = s, track.gateway
	config := mesh.DefaultMeshConfig()
	config.EnableAutoMtls.Value = false
	s.server = xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		KubernetesObjects: s.cluster.objects(),
		MeshConfig:        config,
		ListenerBuilder:   func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
	})
	if track.name == apiTrack.name {
		go s.pushTranslations()
	}
	startEnvoy(t, s.server.Listener.Addr(), s.cluster.gateway, s.address(s.cluster.gateway.pod()))
	return s
}

// pushTranslations has the control plane push its configuration all the time. It translates the Gateway API beside the changes, and the
// test's control plane, unlike a real one, does not push once a translation is there.
func (s *stage) pushTranslations() {
	for {
		select {
		case <-s.t.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
			s.server.Discovery.ConfigUpdate(&model.PushRequest{Forced: true, Reason: model.NewReasonStats(model.DebugTrigger)})
		}
	}
}

// givenPorts are the results of freePort. The gateway listens on its port later than the pods on theirs, and on all addresses.
var givenPorts = map[int32]bool{}

func freePort(t *testing.T) int32 {
	t.Helper()
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := int32(listener.Addr().(*net.TCPAddr).Port)
		_ = listener.Close()
		if !givenPorts[port] {
			givenPorts[port] = true
			return port
		}
	}
}

func (s *stage) address(pod *corev1.Pod) string {
	return s.pod(pod.Name).ip
}

func (s *stage) port(pod *corev1.Pod, _ corev1.ContainerPort) int32 {
	if workloadOf(pod) == gatewayName {
		return s.listens
	}
	return s.pod(pod.Name).port
}

func (s *stage) ready(pod *corev1.Pod) bool {
	return workloadOf(pod) == gatewayName || s.pod(pod.Name).process != nil
}

// pod assigns an address and ports to a pod on first use.
func (s *stage) pod(name string) *realPod {
	if known, found := s.pods[name]; found {
		return known
	}
	one := &realPod{ip: fmt.Sprintf("127.77.0.%d", len(s.pods)+1), port: freePort(s.t), admin: freePort(s.t)}
	s.pods[name] = one
	return one
}

// changed applies a change of the cluster: new programs start, the control plane gets the update, and then obsolete
// programs stop.
func (s *stage) changed(what string) error {
	s.mutex.Lock()
	s.last = what
	s.mutex.Unlock()
	wanted := map[string]bool{}
	for _, deployment := range s.cluster.deployments() {
		for _, pod := range s.cluster.podsOf(deployment) {
			wanted[pod.Name] = true
			if err := s.start(deployment, pod); err != nil {
				return err
			}
		}
	}
	var leaving []*process
	for name, pod := range s.pods {
		if pod.process != nil && !wanted[name] {
			leaving = append(leaving, pod.process)
			s.mutex.Lock()
			pod.process = nil
			s.mutex.Unlock()
		}
	}
	if err := s.publish(); err != nil {
		return err
	}
	for _, process := range leaving {
		if err := process.stop(); err != nil {
			return err
		}
	}
	return nil
}

// start runs a pod's program once every object that it references exists. The stores run already and outlive the pod.
func (s *stage) start(deployment *appsv1.Deployment, pod *corev1.Pod) error {
	one := s.pod(pod.Name)
	if one.process != nil || strings.HasPrefix(deployment.Name, "voting-storage-") ||
		s.cluster.startable("deployment.apps/"+deployment.Name) != nil {
		return nil
	}
	container := pod.Spec.Containers[0]
	name, release, _ := strings.Cut(container.Image, ":")
	command := exec.Command(filepath.Join(s.binaries, name))
	command.Env = append(s.environment(deployment.Name, container.Env),
		"RELEASE="+release,
		"HOSTNAME="+pod.Name,
		"LISTEN_ADDRESS="+one.ip,
		fmt.Sprintf("PORT=%d", one.port),
		fmt.Sprintf("ADMIN_PORT=%d", one.admin),
	)
	process := startProcess(s.t, pod.Name, command)
	probe := container.ReadinessProbe.HTTPGet.Path
	if err := waitForOK(fmt.Sprintf("http://%s:%d%s", one.ip, one.admin, probe)); err != nil {
		return fmt.Errorf("%s: %w", pod.Name, err)
	}
	s.mutex.Lock()
	one.process = process
	s.mutex.Unlock()
	return nil
}

// environment is a container's environment, with a stand-in for the sidecar in place of each service's host and port.
func (s *stage) environment(workload string, variables []corev1.EnvVar) []string {
	values := map[string]string{}
	for _, variable := range variables {
		values[variable.Name] = variable.Value
		switch variable.Name {
		case "MYSQL_USER", "MYSQL_DATABASE", "MYSQL_PASSWORD":
			values[variable.Name] = databaseSetting(s.t, variable.Name)
		case "MYSQL_PASSWORD_FILE": // a mounted secret
			password := databaseSetting(s.t, "MYSQL_PASSWORD")
			if password == "" {
				// An empty file would be an outage.
				delete(values, variable.Name)
				continue
			}
			file := filepath.Join(s.t.TempDir(), "password")
			if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
				s.t.Fatal(err)
			}
			values[variable.Name] = file
		}
	}
	for name, value := range values {
		for earlier, text := range values {
			value = strings.ReplaceAll(value, "$("+earlier+")", text)
		}
		for _, port := range []int{redis, mysql} {
			place := fmt.Sprintf("voting-storage:%d", port)
			if strings.Contains(value, place) {
				value = strings.ReplaceAll(value, place, s.sidecar(workload, "voting-storage", port))
			}
		}
		values[name] = value
	}
	for name, host := range values {
		if service, isHost := strings.CutSuffix(name, "_HOST"); isHost {
			port := map[string]int{"REDIS": redis, "MYSQL": mysql}[service]
			if text, isSet := values[service+"_PORT"]; isSet {
				var err error
				if port, err = strconv.Atoi(text); err != nil {
					s.t.Fatalf("%s: %s_PORT: %v", workload, service, err)
				}
			}
			address, number, _ := net.SplitHostPort(s.sidecar(workload, host, port))
			values[name], values[service+"_PORT"] = address, number
		}
	}
	var all []string
	for name, value := range values {
		all = append(all, name+"="+value)
	}
	return all
}

// databaseSetting stands for what the secret holds: the database that `cargo xtask mesh` has made has its own password, or none.
func databaseSetting(t *testing.T, key string) string {
	t.Helper()
	database, err := url.Parse(setting(t, "TEST_MYSQL_URL"))
	if err != nil {
		t.Fatal(err)
	}
	switch key {
	case "MYSQL_USER":
		return database.User.Username()
	case "MYSQL_PASSWORD":
		password, _ := database.User.Password()
		return password
	case "MYSQL_DATABASE":
		return strings.TrimPrefix(database.Path, "/")
	}
	t.Fatalf("nothing of ours needs %s", key)
	return ""
}

func (s *stage) sidecar(workload, service string, port int) string {
	id := fmt.Sprintf("%s %s:%d", workload, service, port)
	if _, found := s.sidecars[id]; !found {
		s.sidecars[id] = newSidecar(s.t, s, workload, service, port)
	}
	return s.sidecars[id].listener.Addr().String()
}

func waitForOK(address string) error {
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(address)
		if err != nil {
			last = err
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("%s answers %s", address, response.Status)
	}
	return last
}

// serving are the addresses of a workload's programs.
func (s *stage) serving(workload string) []string {
	switch workload {
	case storage1:
		return []string{hostOf(s.t, "TEST_REDIS_URL")}
	case storage2:
		return []string{hostOf(s.t, "TEST_MYSQL_URL")}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var all []string
	for name, pod := range s.pods {
		if pod.process != nil && strings.HasPrefix(name, workload+"-") {
			all = append(all, fmt.Sprintf("%s:%d", pod.ip, pod.port))
		}
	}
	return all
}

func hostOf(t *testing.T, name string) string {
	parsed, err := url.Parse(setting(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

// route is where the simulation sends a workload's call: worked out once after each change.
func (s *stage) route(workload, service string, port int, agent string) reached {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	id := fmt.Sprintf("%s %s:%d %s", workload, service, port, agent)
	if known, found := s.routes[id]; found {
		return known
	}
	if !s.mesh.has(workload) {
		return reached{"no pod of " + workload: 100}
	}
	s.routes[id] = s.mesh.reach(request{from: workload, service: service, port: port, agent: agent})
	return s.routes[id]
}

// runJob does a Job's work with the real program.
func (s *stage) runJob(job *batchv1.Job) error {
	container := job.Spec.Template.Spec.Containers[0]
	name, _, _ := strings.Cut(container.Image, ":")
	bounded, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(bounded, filepath.Join(s.binaries, name), container.Args...)
	command.Env = s.environment(job.Name, container.Env)
	output, err := command.CombinedOutput()
	s.t.Logf("%s:\n%s", job.Name, output)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", job.Name, err, output)
	}
	return nil
}

// during describes the last change, for failure messages.
func (s *stage) during() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return "after " + strconv.Quote(s.last)
}

func (s *stage) ingress() string {
	return fmt.Sprintf("127.0.0.1:%d", s.listens)
}
