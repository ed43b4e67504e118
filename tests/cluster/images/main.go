// Images writes the cluster's images to an archive without a container engine. Each image has the programs it runs, the
// libraries they load, and nothing else:
//
//	images ARCHIVE PROGRAMS ENVOY SERVICES
//
// PROGRAMS is the folder of this module's programs, ENVOY the path of Envoy, SERVICES the folder of the voting programs. An
// empty SERVICES leaves out the services.
package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// files maps a path in an image to the path of its content on this machine.
type files map[string]string

type image struct {
	name    string
	content files
	config  v1.Config
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: images ARCHIVE PROGRAMS ENVOY SERVICES")
	}
	archive, programs, envoy, services := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	images := append(system(programs, envoy), stores(programs)...)
	if services != "" {
		images = append(images, voting(services)...)
	}
	references := map[name.Reference]v1.Image{}
	for _, image := range images {
		built, err := image.build()
		if err != nil {
			log.Fatalf("%s: %v", image.name, err)
		}
		reference, err := name.NewTag(image.name)
		if err != nil {
			log.Fatal(err)
		}
		references[reference] = built
	}
	if err := tarball.MultiRefWriteToFile(archive, references); err != nil {
		log.Fatal(err)
	}
}

// system is the images of Kubernetes and Istio.
func system(programs, envoy string) []image {
	istio := output("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio")
	bin := func(names ...string) files {
		content := files{}
		for _, program := range names {
			content["/usr/local/bin/"+program] = filepath.Join(programs, program)
		}
		return content
	}
	proxy := bin("pilot-agent")
	proxy["/usr/local/bin/envoy"] = envoy
	proxy["/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"] = filepath.Join(istio, "tools/packaging/common/envoy_bootstrap.json")
	plugin := bin("install-cni")
	plugin["/opt/cni/bin/istio-cni"] = filepath.Join(programs, "istio-cni")
	return []image{
		{"cluster.local/pause:1", bin("pause"), v1.Config{Entrypoint: []string{"pause"}, User: "65535:65535"}},
		{"cluster.local/dns:1", bin("dns"), v1.Config{Entrypoint: []string{"dns"}}},
		{"cluster.local/pilot:1.31.0", bin("pilot-discovery"), v1.Config{Entrypoint: []string{"pilot-discovery"}, User: "1337:1337"}},
		{"cluster.local/proxyv2:1.31.0", proxy, v1.Config{Entrypoint: []string{"pilot-agent"}}},
		{"cluster.local/install-cni:1.31.0", plugin, v1.Config{Entrypoint: []string{"install-cni"}, WorkingDir: "/opt/cni/bin"}},
	}
}

// stores is the images of the databases, of Debian's packages. mysql.sh has the settings of the original image.
func stores(programs string) []image {
	mysql := installed("bash", "sh", "mariadbd", "mysql", "mysqladmin", "mariadb-install-db", "my_print_defaults", "resolveip",
		"basename", "cat", "chmod", "dirname", "grep", "hostname", "id", "mkdir", "sed", "touch", "uname", "tr", "sleep")
	err := filepath.WalkDir("/usr/share/mysql", func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			mysql[path] = path
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	mysql["/usr/local/bin/docker-entrypoint.sh"] = "mysql.sh"
	// Where mariadb-install-db looks for the server, and the interpreters of the scripts.
	mysql["/usr/sbin/mariadbd"] = mysql["/usr/bin/mariadbd"]
	mysql["/bin/bash"], mysql["/bin/sh"] = mysql["/usr/bin/bash"], mysql["/usr/bin/sh"]
	return []image{
		{"redis:8", installed("redis-server", "redis-cli", "flock", "bash", "sleep", "timeout", "cat"), v1.Config{Cmd: []string{"redis-server"}, User: "999:999"}},
		{"mysql:8.4", mysql, v1.Config{Entrypoint: []string{"docker-entrypoint.sh"}, User: "999:999"}},
	}
}

// voting is the images of this project, as docker/Dockerfile builds them.
func voting(services string) []image {
	var images []image
	for program, releases := range map[string][]string{
		"voting-app": {"1.0", "2.0"}, "voting-analytics": {"1.0", "1.1", "2.0"}, "voting-storage": {"2.0"},
		"voting-load": {"2.0"},
	} {
		for _, release := range releases {
			images = append(images, image{
				program + ":" + release,
				files{"/usr/local/bin/" + program: filepath.Join(services, program)},
				v1.Config{Entrypoint: []string{program}, User: "65532:65532", Env: []string{"RELEASE=" + release}},
			})
		}
	}
	return images
}

// installed finds programs of this machine.
func installed(names ...string) files {
	content := files{}
	for _, program := range names {
		found, err := exec.LookPath(program)
		if err != nil {
			log.Fatal(err)
		}
		content["/usr/bin/"+program] = found
	}
	return content
}

func (i image) build() (v1.Image, error) {
	layer, err := i.layer()
	if err != nil {
		return nil, err
	}
	built, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", output("go", "env", "GOARCH")
	file.Config = i.config
	file.Config.Env = append(file.Config.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return mutate.ConfigFile(built, file)
}

func (i image) layer() (v1.Layer, error) {
	content := maps.Clone(i.content)
	for _, program := range i.content {
		for _, library := range libraries(program) {
			content[library] = library
		}
	}
	var written bytes.Buffer
	archive := tar.NewWriter(&written)
	if err := archive.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return nil, err
	}
	for _, target := range slices.Sorted(maps.Keys(content)) {
		if err := add(archive, target, content[target]); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	// Neither compressed nor hashed more than once: the archive is read on this machine only.
	return static.NewLayer(written.Bytes(), types.DockerUncompressedLayer), nil
}

func add(archive *tar.Writer, target, source string) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := tar.Header{Name: strings.TrimPrefix(path.Clean(target), "/"), Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm() | 0o444), Size: info.Size()}
	if err := archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err = io.Copy(archive, file)
	return err
}

// libraries lists the shared libraries of a program; a static program and a script have none.
func libraries(program string) []string {
	lines, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil
	}
	var found []string
	for line := range bytes.Lines(lines) {
		for _, word := range strings.Fields(string(line)) {
			if strings.HasPrefix(word, "/") {
				found = append(found, word)
			}
		}
	}
	return found
}

func output(command string, arguments ...string) string {
	printed, err := exec.Command(command, arguments...).Output()
	if err != nil {
		log.Fatal(fmt.Errorf("%s %s: %w", command, arguments, err))
	}
	return strings.TrimSpace(string(printed))
}
