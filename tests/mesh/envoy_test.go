package mesh

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// startEnvoy runs a real Envoy as the ingress gateway: its configuration comes from the control plane at xds.
func startEnvoy(t *testing.T, xds net.Addr, g gateway, ip string) {
	t.Helper()
	host, port, err := net.SplitHostPort(xds.String())
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := map[string]any{
		"node": map[string]any{
			// The identity of a proxy: kind, address, pod, domain.
			"id":      fmt.Sprintf("router~%s~%s.%s~%s.svc.cluster.local", ip, g.pod().Name, g.namespace, g.namespace),
			"cluster": g.service + "." + g.namespace,
			"metadata": map[string]any{
				"NAMESPACE":       g.namespace,
				"LABELS":          g.labels,
				"SERVICE_ACCOUNT": g.account,
				"ISTIO_VERSION":   istioVersion,
				"CLUSTER_ID":      "Kubernetes",
			},
		},
		"dynamic_resources": map[string]any{
			"ads_config": map[string]any{
				"api_type":              "GRPC",
				"transport_api_version": "V3",
				"grpc_services":         []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds-grpc"}}},
			},
			"cds_config": map[string]any{"ads": map[string]any{}, "resource_api_version": "V3"},
			"lds_config": map[string]any{"ads": map[string]any{}, "resource_api_version": "V3"},
		},
		"static_resources": map[string]any{"clusters": []any{map[string]any{
			"name":            "xds-grpc",
			"type":            "STATIC",
			"connect_timeout": "5s",
			"typed_extension_protocol_options": map[string]any{
				"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
					"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
					"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
				},
			},
			"load_assignment": map[string]any{
				"cluster_name": "xds-grpc",
				"endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{
					"address": map[string]any{"socket_address": map[string]any{"address": host, "port_value": json.Number(port)}},
				}}}}},
			},
		}}},
	}
	content, err := json.Marshal(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	file := filepath.Join(directory, "bootstrap.json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	startProcess(t, "envoy", exec.Command(setting(t, "ENVOY"),
		"--config-path", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"))
}

// startProcess starts a program that ends with the test, and prints its output if the test fails.
func startProcess(t *testing.T, name string, command *exec.Cmd) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	// The program also ends if the test process is killed.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p := &process{name: name, command: command, ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-p.ended
		_ = log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("%s said:\n%s", name, tail(string(said), 2000))
		}
	})
	return p
}

func tail(text string, length int) string {
	if len(text) > length {
		return "..." + text[len(text)-length:]
	}
	return text
}

type process struct {
	name    string
	command *exec.Cmd
	ended   chan struct{}
}

// stop sends SIGTERM, as the kubelet does.
func (p *process) stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(40 * time.Second):
		return fmt.Errorf("%s has not left within the grace period", p.name)
	}
}

// setting reads a variable that `cargo xtask mesh` sets.
func setting(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; this test is run by `cargo xtask mesh`, which sets it", name)
	}
	return value
}
