# Builds every image:         docker buildx bake --file docker/docker-bake.hcl --load
# Builds and publishes them:  REGISTRY=registry.example/poll docker buildx bake --file docker/docker-bake.hcl --push
#
# Published images are for amd64 and arm64 and carry an SBOM and their provenance; that needs a builder that can do so,
# such as the one of `docker buildx create --use`. From the environment:

variable "REGISTRY" {
  # Where the images are published, without a slash at the end; images without it stay on this machine.
  default = ""
}

variable "SOURCE" {
  # URL of the repository.
  default = ""
}

variable "REVISION" {
  # Commit that is built.
  default = ""
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
    ]
  }
  dockerfile = "docker/Dockerfile"
  target     = image.program
  args       = { RELEASE = image.release }
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
