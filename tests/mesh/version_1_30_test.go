//go:build istio_1_30

package mesh

// istioVersion is the version of the proxies, which determines their configuration: that of the code in istio-1.30.mod, the branch
// of release 1.30 after 1.30.3.
const istioVersion = "1.30.3"
