from portraitist.avatar import Avatar as Avatar
from portraitist.avatar import Portraitist as Portraitist

__version__: str
