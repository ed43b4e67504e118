# Build all images:    docker buildx bake --file docker/docker-bake.hcl --load
# Build and publish:   REGISTRY=registry.example/poll docker buildx bake --file docker/docker-bake.hcl --push
#
# Published images are built for amd64 and arm64 with SBOM and provenance attestations. That needs a suitable builder, such
# as one created by `docker buildx create --use`. Variables from the environment:

variable "REGISTRY" {
  # Registry to publish to, without a trailing slash. If empty, the images stay local.
  default = ""
}

variable "SOURCE" {
  # URL of the source repository.
  default = ""
}

variable "REVISION" {
  # Commit being built.
  default = ""
}

variable "PROFILE" {
  # Cargo profile of the programs: release, or quick, which is built faster.
  default = "release"
}

target "image" {
  name = replace("${image.program}-${image.release}", ".", "-")
  matrix = {
    image = [
      { program = "voting-app", release = "1.0" },
      { program = "voting-app", release = "2.0" },
      { program = "voting-analytics", release = "1.0" },
      { program = "voting-analytics", release = "1.1" },
      { program = "voting-analytics", release = "2.0" },
      { program = "voting-storage", release = "2.0" },
      { program = "voting-load", release = "2.0" },
    ]
  }
  dockerfile = "docker/Dockerfile"
  target     = image.program
  args       = { RELEASE = image.release, PROFILE = PROFILE }
  tags       = [REGISTRY == "" ? "${image.program}:${image.release}" : "${REGISTRY}/${image.program}:${image.release}"]
  labels = {
    "org.opencontainers.image.source"   = SOURCE == "" ? null : SOURCE
    "org.opencontainers.image.revision" = REVISION == "" ? null : REVISION
  }
  platforms = REGISTRY == "" ? null : ["linux/amd64", "linux/arm64"]
  attest    = REGISTRY == "" ? null : ["type=sbom", "type=provenance,mode=max"]
}

group "default" {
  targets = ["image"]
}
