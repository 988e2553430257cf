"""A hub for one class: who comes in, what each learner gets, when idle servers stop.

The Littlest JupyterHub reads this file from /opt/tljh/config/jupyterhub_config.d/, and `make
hub-test` starts a hub with it. README.md in this folder says how to use it and where the numbers
come from; values.yaml holds the same for Kubernetes.
"""

import sys
from copy import deepcopy
from ipaddress import ip_address
from urllib.parse import urlparse

from jupyterhub.app import JupyterHub

c = get_config()  # noqa: F821

# A learner signs up with a password, and comes in once the teacher has said yes to the name.
c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
c.NativeAuthenticator.open_signup = False
c.NativeAuthenticator.minimum_password_length = 10
c.NativeAuthenticator.check_common_password = True
c.NativeAuthenticator.allowed_failed_logins = 5
c.NativeAuthenticator.seconds_before_next_try = 60
c.Authenticator.allow_all = True  # all to whom the teacher has said yes; NativeAuthenticator asks

# What a learner gets. systemd enforces the limits on The Littlest JupyterHub.
c.Spawner.mem_guarantee = "512M"
c.Spawner.mem_limit = "2G"
c.Spawner.cpu_limit = 2
c.Spawner.default_url = "/lab"
c.Spawner.environment = {  # one thread for each learner, so that a class shares the cores fairly
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")
}

# When a whole class starts at once, the last server waits for the processor.
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300

# A restart of the hub leaves the learners' servers and kernels running. A proxy that started anew
# gets its routes back within this many seconds; the default is five minutes.
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 20

# A server that nobody has used for an hour stops; the files stay.
c.JupyterHub.services = [
    {
        "name": "cull-idle",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=3600",
                    "--cull-every=300"],
    }
]  # fmt: skip
c.JupyterHub.load_roles = [
    {
        "name": "cull-idle",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["cull-idle"],
    }
]


def is_this_machine(host):
    """Whether nobody but this machine reaches the host; an empty one means every address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_door(settings):
    """What would let in people whom nobody has let in, at an address that others can reach."""
    kind = str(settings.JupyterHub.authenticator_class)
    if any(word in kind.lower() for word in ("dummy", "shared", "tmp")):
        said = f"the authenticator {kind} lets in whoever comes"
    elif settings.NativeAuthenticator.open_signup:
        said = "open_signup lets in whoever signs up"
    else:
        return None
    hosts = [settings.JupyterHub.ip] if "ip" in settings.JupyterHub else []
    if "bind_url" in settings.JupyterHub:
        hosts.append(urlparse(settings.JupyterHub.bind_url).hostname or "")
    own_proxy = "proxy_class" not in settings.JupyterHub
    own_proxy &= settings.ConfigurableHTTPProxy.get("should_start", True) in (True, "True")
    if hosts and own_proxy and all(map(is_this_machine, hosts)):
        return None
    return f"{said}, and others can reach this hub; on a loopback address it may"


# The last word: what the files before this one, this one and the command line say together.
settings = deepcopy(c)
if JupyterHub.initialized():
    settings.merge(JupyterHub.instance().cli_config)
if said := open_door(settings):
    sys.exit(f"refused to start: {said}")
