package mesh

import (
	"regexp"
	"strings"
	"testing"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	tcprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"istio.io/istio/pilot/test/xdstest"
)

// Istio's simulation neither matches headers nor evaluates authorization. These are Envoy's rules for the parts of both
// that our manifests lead to; anything else that turns up fails the test, so that nothing is silently left out.

func matchRoute(t *testing.T, host *route.VirtualHost, r request) map[string]uint32 {
	t.Helper()
	path := r.path
	if path == "" {
		path = "/"
	}
	for _, candidate := range host.Routes {
		if !matchPath(t, candidate.Match, path) || !matchHeaders(t, candidate.Match, r) {
			continue
		}
		action := candidate.GetRoute()
		if action.GetCluster() != "" {
			return map[string]uint32{action.GetCluster(): 100}
		}
		targets := map[string]uint32{}
		for _, weighted := range action.GetWeightedClusters().GetClusters() {
			targets[weighted.Name] += weighted.Weight.GetValue()
		}
		return targets
	}
	return map[string]uint32{noRoute: 100}
}

func matchPath(t *testing.T, match *route.RouteMatch, path string) bool {
	t.Helper()
	switch p := match.GetPathSpecifier().(type) {
	case *route.RouteMatch_Prefix:
		return strings.HasPrefix(path, p.Prefix)
	case *route.RouteMatch_Path:
		return path == p.Path
	default:
		t.Fatalf("a route matches its path by %T, which this test does not know", p)
		return false
	}
}

func matchHeaders(t *testing.T, match *route.RouteMatch, r request) bool {
	t.Helper()
	for _, header := range match.GetHeaders() {
		value := r.agent
		switch header.Name {
		case "user-agent":
		case "cookie":
			value = strings.Join(r.cookies, "; ")
		case ":method":
			if value = r.method; value == "" {
				value = "GET"
			}
		default:
			t.Fatalf("a route matches the header %s, which this test does not know", header.Name)
		}
		if value == "" || matchString(t, header.GetStringMatch(), value) == header.InvertMatch {
			return false
		}
	}
	return true
}

func matchString(t *testing.T, m *matcher.StringMatcher, text string) bool {
	t.Helper()
	switch pattern := m.GetMatchPattern().(type) {
	case *matcher.StringMatcher_Exact:
		return text == pattern.Exact
	case *matcher.StringMatcher_Prefix:
		return strings.HasPrefix(text, pattern.Prefix)
	case *matcher.StringMatcher_Suffix:
		return strings.HasSuffix(text, pattern.Suffix)
	case *matcher.StringMatcher_SafeRegex:
		// Envoy's engine is RE2 and must match the whole text.
		return regexp.MustCompile("^(?:" + pattern.SafeRegex.Regex + ")$").MatchString(text)
	default:
		t.Fatalf("a text is matched by %T, which this test does not know", pattern)
		return false
	}
}

// allowed evaluates every RBAC filter of a chain: each must let the caller in.
func allowed(t *testing.T, chain *listener.FilterChain, principal string, port uint32) bool {
	t.Helper()
	for _, filter := range chain.GetFilters() {
		if config := filter.GetTypedConfig(); config.MessageIs(&tcprbac.RBAC{}) {
			if !permits(t, xdstest.UnmarshalAny[tcprbac.RBAC](t, config).GetRules(), principal, port) {
				return false
			}
		}
	}
	if manager := xdstest.ExtractHTTPConnectionManager(t, chain); manager != nil {
		for _, filter := range manager.GetHttpFilters() {
			if config := filter.GetTypedConfig(); config.MessageIs(&httprbac.RBAC{}) {
				if !permits(t, xdstest.UnmarshalAny[httprbac.RBAC](t, config).GetRules(), principal, port) {
					return false
				}
			}
		}
	}
	return true
}

func permits(t *testing.T, rules *rbac.RBAC, principal string, port uint32) bool {
	t.Helper()
	if rules == nil {
		return true
	}
	matched := false
	for _, policy := range rules.Policies {
		permission, identity := false, false
		for _, p := range policy.Permissions {
			permission = permission || matchPermission(t, p, port)
		}
		for _, p := range policy.Principals {
			identity = identity || matchPrincipal(t, p, principal)
		}
		matched = matched || permission && identity
	}
	return matched == (rules.Action == rbac.RBAC_ALLOW)
}

func matchPermission(t *testing.T, p *rbac.Permission, port uint32) bool {
	t.Helper()
	switch rule := p.GetRule().(type) {
	case *rbac.Permission_Any:
		return rule.Any
	case *rbac.Permission_DestinationPort:
		return rule.DestinationPort == port
	case *rbac.Permission_NotRule:
		return !matchPermission(t, rule.NotRule, port)
	case *rbac.Permission_AndRules:
		for _, one := range rule.AndRules.Rules {
			if !matchPermission(t, one, port) {
				return false
			}
		}
		return true
	case *rbac.Permission_OrRules:
		for _, one := range rule.OrRules.Rules {
			if matchPermission(t, one, port) {
				return true
			}
		}
		return false
	default:
		t.Fatalf("a policy permits by %T, which this test does not know", rule)
		return false
	}
}

func matchPrincipal(t *testing.T, p *rbac.Principal, principal string) bool {
	t.Helper()
	switch id := p.GetIdentifier().(type) {
	case *rbac.Principal_Any:
		return id.Any
	case *rbac.Principal_NotId:
		return !matchPrincipal(t, id.NotId, principal)
	case *rbac.Principal_Authenticated_:
		return principal != "" && matchString(t, id.Authenticated.GetPrincipalName(), principal)
	case *rbac.Principal_FilterState:
		if id.FilterState.Key != "io.istio.peer_principal" {
			t.Fatalf("a policy looks at the filter state %s, which this test does not know", id.FilterState.Key)
		}
		return principal != "" && matchString(t, id.FilterState.GetStringMatch(), principal)
	case *rbac.Principal_AndIds:
		for _, one := range id.AndIds.Ids {
			if !matchPrincipal(t, one, principal) {
				return false
			}
		}
		return true
	case *rbac.Principal_OrIds:
		for _, one := range id.OrIds.Ids {
			if matchPrincipal(t, one, principal) {
				return true
			}
		}
		return false
	default:
		t.Fatalf("a policy names its callers by %T, which this test does not know", id)
		return false
	}
}
