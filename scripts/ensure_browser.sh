#!/usr/bin/env bash
# Make sure that the browser tests find a Chromium. Only tests need one.
set -euo pipefail

[[ -n "${NBTRAIN_BROWSER:-}" ]] && exit 0
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done

if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
  echo "Installing Chromium for the browser tests."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # DejaVu has the arrows and signs of the panel, which a bare machine has no font for.
  apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
  command -v chromium >/dev/null && exit 0
fi

cat >&2 <<'MESSAGE'
The browser tests need Chromium or Chrome, and there is none on the PATH.
Install it (Debian, Ubuntu: sudo apt-get install chromium; Fedora: sudo dnf install chromium;
macOS: brew install --cask chromium), or set NBTRAIN_BROWSER to the browser's executable.
MESSAGE
exit 1
