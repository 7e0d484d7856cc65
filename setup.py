"""What pyproject.toml cannot say: the Slicer module's resources travel inside the library's wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("DeepVsClassicReg", include=["DeepVsClassicRegLib*"]), "DeepVsClassicRegLib._resources"],
    package_data={"DeepVsClassicRegLib": ["**/*.html", "**/*.css"], "DeepVsClassicRegLib._resources": ["**/*"]},
)
