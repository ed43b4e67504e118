package mesh

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// block is a code block of the tutorial: commands and, if a text block follows, what they print.
type block struct {
	section    string // "Step 3: Canary release 2.0"
	subsection string // "Way back", or empty
	track      string // "Istio" or "Gateway API"; empty: of both
	before     string // the text above the commands
	commands   string
	output     string
}

// tutorial reads the blocks of docs/tutorial.md in their order, of all tracks.
func tutorial(t *testing.T) []block {
	t.Helper()
	blocks := blocksOf(t, "docs/tutorial.md")
	if len(blocks) < 20 {
		t.Fatalf("the tutorial has %d blocks only", len(blocks))
	}
	return blocks
}

// blocksIn are the blocks of a section of a document.
func blocksIn(t *testing.T, path, section string) []block {
	t.Helper()
	return slices.DeleteFunc(blocksOf(t, path), func(b block) bool { return b.section != section })
}

// blocksOf reads the blocks of a document in their order.
func blocksOf(t *testing.T, path string) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	var current block
	fence := ""
	var before, inside strings.Builder
	for line := range strings.Lines(string(content)) {
		switch text := strings.TrimRight(line, "\n"); {
		case fence == "" && strings.HasPrefix(text, "## "):
			current = block{section: strings.TrimPrefix(text, "## ")}
		case fence == "" && strings.HasPrefix(text, "### "):
			current.subsection = strings.TrimPrefix(text, "### ")
		case fence == "" && (text == "**Istio**" || text == "**Gateway API**"):
			current.track = strings.Trim(text, "*")
		case fence == "" && strings.HasPrefix(text, "```"):
			fence = strings.TrimPrefix(text, "```")
			inside.Reset()
		case text == "```":
			if fence == "bash" {
				current.commands = inside.String()
				current.before = before.String()
				blocks = append(blocks, current)
				current.track = ""
			} else {
				blocks[len(blocks)-1].output = inside.String()
			}
			fence = ""
			before.Reset()
		default:
			if fence == "" {
				before.WriteString(line)
			}
			inside.WriteString(line)
		}
	}
	return blocks
}

// of are the blocks of the tutorial for one track.
func (track track) of(blocks []block) []block {
	return slices.DeleteFunc(slices.Clone(blocks), func(b block) bool { return b.track != "" && b.track != track.name })
}

// step is the name that the tests know a section by: "Step 3b".
func (b block) step() string {
	name, _, _ := strings.Cut(b.section, ":")
	return name
}

// detour is the step that may be left out: it begins in the middle of step 3, which goes on after it.
const detour = "Step 2b"

func (b block) isStep() bool {
	return strings.HasPrefix(b.section, "Step ") && b.step() != detour
}

func (b block) isWayBack() bool {
	return b.subsection == "Way back"
}
