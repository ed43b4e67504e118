package mesh

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sidecar replaces the proxies of a workload's pods for calls to one port of a service. It routes by Istio's current
// configuration for that workload, including sidecars and strict mutual TLS.
type sidecar struct {
	stage    *stage
	workload string
	service  string
	port     int
	listener net.Listener
	turn     atomic.Uint64
}

func newSidecar(t *testing.T, s *stage, workload, service string, port int) *sidecar {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	one := &sidecar{stage: s, workload: workload, service: service, port: port, listener: listener}
	if port == web {
		proxy := &httputil.ReverseProxy{
			Director:      func(*http.Request) {},
			Transport:     &http.Transport{DisableKeepAlives: true},
			FlushInterval: -1,
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			target, err := one.target(r.UserAgent())
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			r.URL.Scheme, r.URL.Host = "http", target
			proxy.ServeHTTP(w, r)
		})}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
	} else {
		go one.forward()
		t.Cleanup(func() { _ = listener.Close() })
	}
	return one
}

// target is the next pod that the mesh would send a call to.
func (s *sidecar) target(agent string) (string, error) {
	outcome := s.stage.route(s.workload, s.service, s.port, agent)
	var pods []string
	for workload := range outcome {
		pods = append(pods, s.stage.serving(workload)...)
	}
	if len(pods) == 0 {
		return "", errors.New(outcome.String())
	}
	return pods[s.turn.Add(1)%uint64(len(pods))], nil
}

func (s *sidecar) forward() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			target, err := s.target("")
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer server.Close()
			var both sync.WaitGroup
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				both.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					// The other direction ends with this one.
					_ = pair[0].Close()
					_ = pair[1].Close()
				})
			}
			both.Wait()
		}()
	}
}

// load requests the page continuously and records every failed response.
type load struct {
	asked  atomic.Int64
	late   atomic.Int64
	mutex  sync.Mutex
	failed []string
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup
}

func startLoad(url string, during func() string) *load {
	l := &load{stop: make(chan struct{})}
	cookies := []string{"", "theme=dark", "votingcanary=1.0", "votingcanary=2.0", "featureflag=on"}
	for range 2 {
		l.done.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				before, start := during(), time.Now()
				problem := ask(url, cookies[rand.IntN(len(cookies))])
				if strings.HasPrefix(problem, withoutResults) && time.Since(start) > almostAnalyticsTimeout {
					l.late.Add(1)
				} else if problem != "" {
					l.mutex.Lock()
					l.failed = append(l.failed, before+": "+problem)
					l.mutex.Unlock()
				}
				l.asked.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return l
}

// withoutResults begins the description of a page without results.
const withoutResults = "a page without results: "

// almostAnalyticsTimeout is a little less than the time that the app waits for the results. On a starved machine a page may
// have to do without them; a wrong route fails at once, and again and again.
const almostAnalyticsTimeout = 1400 * time.Millisecond

// isMostlyInTime reports whether at most one page of 500 did without results because they were late.
func (l *load) isMostlyInTime() bool {
	return l.late.Load()*500 <= l.asked.Load()
}

func (l *load) finish() (asked int64, failed []string) {
	l.once.Do(func() { close(l.stop) })
	l.done.Wait()
	return l.asked.Load(), l.failed
}

func ask(url, cookie string) string {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	if cookie != "" {
		request.Header.Set("Cookie", cookie)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err.Error()
	case response.StatusCode != http.StatusOK:
		return response.Status + " " + strings.TrimSpace(string(body))
	case !strings.Contains(string(body), `<div id="results"> Cats: `):
		return withoutResults + tail(string(body), 500)
	}
	return ""
}
