"""An RTSP server for the tests, run by the system's Python, which has GStreamer's bindings.

It prints its ports, the first for all and the second for who knows the password, and ends when its standard input does.
Paths: /steady, /sizes (changes its size), /jumps (its times do), /slow (a picture every two seconds); and /secret.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PASSWORD = "p@ss/w:rd?"
ENCODE = (
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={keys} ! rtph264pay name=pay0 pt=96 config-interval=-1"
)


def pipeline(rate: str = "25/1", keys: int = 12) -> str:
    source = f"videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate={rate},format=I420"
    return f"( {source} ! {ENCODE.format(keys=keys)} )"


SIZES = (
    "( videotestsrc is-live=true ! videoscale ! capsfilter name=caps caps=video/x-raw,width=160,height=120,"
    "framerate=25/1,format=I420 ! " + ENCODE.format(keys=12) + " )"
)


class Sizes(GstRtspServer.RTSPMediaFactory):
    """Its pictures are wider or taller from time to time."""

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        caps = media.get_element().get_by_name("caps")
        number = [0]

        def change() -> bool:
            number[0] += 1
            width, height = ((160, 120), (96, 144))[number[0] % 2]
            caps.set_property(
                "caps",
                Gst.Caps.from_string(f"video/x-raw,width={width},height={height},framerate=25/1,format=I420"),
            )
            return number[0] < 100

        GLib.timeout_add(700, change)


class Jumps(GstRtspServer.RTSPMediaFactory):
    """Its clock is put forward by an hour and back."""

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        number = [0]

        def put(_: Gst.Pad, found: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
            number[0] += 1
            found.get_buffer().pts += 3600 * Gst.SECOND * (number[0] // 10 % 2)
            return Gst.PadProbeReturn.OK

        media.get_element().get_by_name("pay0").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, put)


def serving(port: str) -> GstRtspServer.RTSPServer:
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    return server


def guarded() -> GstRtspServer.RTSPServer:
    """Serve what only `eve` may see, by both methods."""
    server = serving("0")
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    if len(sys.argv) > 2:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("eve", PASSWORD), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest("eve", PASSWORD, token)
    server.set_auth(auth)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(pipeline())
    role = Gst.Structure.new_empty("viewer")
    role.set_value(GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    role.set_value(GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    permissions = GstRtspServer.RTSPPermissions.new()
    permissions.add_role_from_structure(role)
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/secret", factory)
    return server


def main() -> None:
    Gst.init(None)
    server = serving(sys.argv[1] if len(sys.argv) > 1 else "0")
    for path, factory, launch in (
        ("/steady", GstRtspServer.RTSPMediaFactory.new(), pipeline()),
        ("/slow", GstRtspServer.RTSPMediaFactory.new(), pipeline("1/2", 1)),
        ("/sizes", Sizes(), SIZES),
        ("/jumps", Jumps(), pipeline()),
    ):
        factory.set_launch(launch)
        server.get_mount_points().add_factory(path, factory)
    other = guarded()
    assert server.attach(None)
    assert other.attach(None)
    loop = GLib.MainLoop()
    sys.stdout.write(f"{server.get_bound_port()} {other.get_bound_port()}\n")
    sys.stdout.flush()

    def wait() -> None:
        sys.stdin.read()
        loop.quit()

    threading.Thread(target=wait, daemon=True).start()
    GLib.timeout_add_seconds(300, loop.quit)  # whatever happens to the test
    loop.run()


main()
