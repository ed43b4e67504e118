package mesh

import "testing"

// expectation is a row of a step's table: a call and where it ends.
type expectation struct {
	request
	want string
}

// The ports of voting-storage, and of the two HTTP services.
const (
	redis = 6379
	mysql = 3306
	web   = 8080
)

func browser(want string, cookies ...string) expectation {
	return expectation{request{from: gatewayName, cookies: cookies}, want}
}

func call(from, service string, port int, want string) expectation {
	return expectation{request{from: from, service: service, port: port}, want}
}

// plaintext is a call from a pod without a sidecar, whatever its labels say.
func plaintext(from, service string, port int, want string) expectation {
	return expectation{request{from: from, service: service, port: port, plaintext: true}, want}
}

const (
	app1, app2                           = "voting-app-1-0", "voting-app-2-0"
	analytics10, analytics11, analytics2 = "voting-analytics-1-0", "voting-analytics-1-1", "voting-analytics-2-0"
	storage1, storage2                   = "voting-storage-1-0", "voting-storage-2-0"
	transfer, transferBack               = "voting-storage-transfer", "voting-storage-transfer-back"
)

// flagVariants are cookie headers that carry the flag, and otherVariants are ones that only look like it.
var (
	flagVariants = [][]string{
		{"featureflag=on"},
		{"featureflag=on; theme=dark"},
		{"theme=dark; featureflag=on"},
		{"theme=dark;featureflag=on"},
		{"theme=dark;   featureflag=on  ; session=7"},
		{"theme=dark", "featureflag=on"},
	}
	otherVariants = [][]string{
		{"featureflag=off"},
		{"featureflag="},
		{"featureflag=once"},
		{"notfeatureflag=on"},
		{"theme=featureflag=on"},
		{"FeatureFlag=on"},
		{"theme=dark; featureflag=on2; session=7"},
	}
)

func browsers(variants [][]string, want string) []expectation {
	var all []expectation
	for _, cookies := range variants {
		all = append(all, browser(want, cookies...))
	}
	return all
}

func join(groups ...[]expectation) []expectation {
	var all []expectation
	for _, group := range groups {
		all = append(all, group...)
	}
	return all
}

// strict holds from step 2 on, for every workload of 1.x: only authorized callers are admitted, and only with mutual TLS.
var strict = []expectation{
	call(app1, "voting-analytics", web, analytics11+" 100"),
	call(app1, "voting-storage", redis, storage1+" 100"),
	call(analytics10, "voting-storage", redis, storage1+" 100"),
	call(analytics11, "voting-storage", redis, storage1+" 100"),
	call(analytics11, "voting-app", web, denied+" 100"),
	call(storage1, "voting-app", web, denied+" 100"),
	call(storage1, "voting-analytics", web, denied+" 100"),
	call(analytics10, "voting-analytics", web, denied+" 100"),
	plaintext(app1, "voting-analytics", web, refused+" 100"),
	plaintext(app1, "voting-storage", redis, refused+" 100"),
	plaintext(analytics11, "voting-app", web, refused+" 100"),
}

// separate holds while both releases run: each calls its own analytics and storage only.
var separate = []expectation{
	call(app1, "voting-storage", mysql, denied+" 100"),
	call(analytics11, "voting-storage", mysql, denied+" 100"),
	call(app2, "voting-analytics", web, analytics2+" 100"),
	call(app2, "voting-storage", mysql, storage2+" 100"),
	call(analytics2, "voting-storage", mysql, storage2+" 100"),
	call(app2, "voting-storage", redis, denied+" 100"),
	call(analytics2, "voting-storage", redis, denied+" 100"),
	call(analytics2, "voting-app", web, denied+" 100"),
	call(storage2, "voting-analytics", web, denied+" 100"),
	plaintext(app2, "voting-storage", mysql, refused+" 100"),
	plaintext(app2, "voting-analytics", web, refused+" 100"),
}

// tables hold, for the tutorial's steps and the ways back from them, where each call ends.
var tables = map[string][]expectation{
	"Step 1": join([]expectation{
		browser(app1 + " 100"),
		call(app1, "voting-analytics", web, analytics10+" 100"),
		call(app1, "voting-storage", redis, storage1+" 100"),
		call(analytics10, "voting-storage", redis, storage1+" 100"),
		plaintext(analytics10, "voting-storage", redis, storage1+" 100"),
	}, browsers(flagVariants, app1+" 100")),

	"Step 2":           join([]expectation{browser(app1 + " 100")}, browsers(flagVariants, app1+" 100"), strict),
	"Step 2, way back": {browser(app1 + " 100"), call(app1, "voting-analytics", web, analytics10+" 100"), plaintext(app1, "voting-analytics", web, analytics10+" 100")},

	detour: join([]expectation{
		browser(app1 + " 100"),
		{request{from: gatewayName, path: "/events"}, app1 + " 100"},
		{request{from: gatewayName, method: "POST"}, app1 + " 100"},
	}, browsers(flagVariants, app1+" 100"), strict, separate),

	"Step 3": join([]expectation{browser(app1 + " 100")}, browsers(flagVariants, app2+" 100"), browsers(otherVariants, app1+" 100"),
		strict, separate),
	"Step 3, way back": join([]expectation{browser(app1 + " 100")}, browsers(flagVariants, app1+" 100"), strict, separate,
		[]expectation{
			call(transferBack, "voting-storage", redis, storage1+" 100"),
			call(transferBack, "voting-storage", mysql, storage2+" 100"),
			call(transferBack, "voting-app", web, denied+" 100"),
		}),

	"Step 3b": join([]expectation{
		browser(app1 + " 90, " + app2 + " 10"),
		browser(app1+" 100", "votingcanary=1.0"),
		browser(app2+" 100", "votingcanary=2.0"),
		browser(app1+" 100", "theme=dark; votingcanary=1.0; session=7"),
		browser(app2+" 100", "votingcanary=1.0; featureflag=on"),
		browser(app2+" 100", "featureflag=on; votingcanary=1.0"),
		browser(app1+" 90, "+app2+" 10", "votingcanary=3.0"),
		browser(app1+" 90, "+app2+" 10", "votingcanary=2x0"),
	}, browsers(flagVariants, app2+" 100"), browsers(otherVariants, app1+" 90, "+app2+" 10"), strict, separate),
	"Step 3b, way back": join([]expectation{browser(app1 + " 100"), browser(app1+" 100", "votingcanary=2.0")},
		browsers(flagVariants, app2+" 100"), strict, separate),

	"Step 4": join([]expectation{
		browser(app2 + " 100"),
		browser(app2+" 100", "votingcanary=1.0"),
		call(app2, "voting-analytics", web, analytics2+" 100"),
		call(app2, "voting-storage", mysql, storage2+" 100"),
		call(analytics2, "voting-storage", mysql, storage2+" 100"),
		call(transfer, "voting-storage", mysql, storage2+" 100"),
	}, browsers(flagVariants, app2+" 100"), browsers(otherVariants, app2+" 100")),
	"Step 4, way back": join([]expectation{browser(app1 + " 100")}, browsers(flagVariants, app1+" 100"), strict, separate),

	"Step 5": join([]expectation{
		browser(app2 + " 100"),
		call(app2, "voting-analytics", web, analytics2+" 100"),
		call(app2, "voting-storage", mysql, storage2+" 100"),
		call(app2, "voting-storage", redis, noEndpoint+" 100"),
		call(storage2, "voting-analytics", web, denied+" 100"),
		plaintext(app2, "voting-storage", mysql, refused+" 100"),
		plaintext(analytics2, "voting-app", web, refused+" 100"),
	}, browsers(flagVariants, app2+" 100"), browsers(otherVariants, app2+" 100")),
}

// assertTable checks the calls of a step's table, and returns the ends of all calls.
func assertTable(t *testing.T, c *cluster, step string) map[string]string {
	t.Helper()
	table := tables[step]
	if len(table) == 0 {
		t.Fatalf("there is no table for %q", step)
	}
	m := newMesh(t, c)
	for _, row := range table {
		if got := m.reach(row.request).String(); got != row.want {
			t.Errorf("%s\n  ends at %s\n  want    %s", right{request: row.request}.describe(), got, row.want)
		}
	}
	t.Logf("%d calls end where they should", len(table))
	return outcomes(m)
}
