"""Segment a robot's camera, as one process of a ROS 2 launch.

    ros2 launch examples/ros2/segmentation.launch.py image:=/camera/image_raw words:="floor, door, person"

The process speaks DDS itself and needs no ROS installation; this page only starts and ends it with the rest of a robot.
It publishes /segmentation (class ids), /segmentation/overlay and /segmentation/labels. The middleware's settings, such
as ROS_DOMAIN_ID, it takes from its environment.

NOT RUN: no ROS 2 was at hand. The tests read which command it starts, with stand-ins for the classes of `launch`.
"""

import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

ARGUMENTS = {
    "image": ("/camera/image_raw", "topic of the pictures: sensor_msgs/Image or CompressedImage"),
    "output": ("/segmentation", "topic of the results"),
    "words": ("floor, wall, door, person", "what is segmented"),
    "bundle": ("tiny", "name or path of the bundle"),
    "python": (sys.executable, "the Python that TCL Edge is installed for"),
}


def generate_launch_description() -> LaunchDescription:
    """Describe what `ros2 launch` starts."""
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=told)
        for name, (default, told) in ARGUMENTS.items()
    ]
    process = ExecuteProcess(
        cmd=[
            given["python"],
            "-m",
            "runtime",
            ["ros2:", given["image"]],
            ["ros2:", given["output"]],
            "--bundle",
            given["bundle"],
            "--classes",
            given["words"],
            "--headless",
        ],
        name="segmentation",
        output="screen",
        respawn=True,  # a fault of a driver ends the process, not the robot's eyes
        respawn_delay=2.0,
        sigterm_timeout="30",
    )
    return LaunchDescription([*declared, process])
