"""Simplified characters of this market's own texts and their traditional forms; not a general converter."""

from __future__ import annotations

_SIMPLIFIED = (
    "与丝两乐书云亚亲伙伞伦体侧儿内军凉几凯务动匀协单卖卫厨双发变叠台吗唇围圆坠垫声壳壶复头夹妆宁实层属屿"
    "岚峡带床开弹录径怀态户护换数断无旧时显机条极树栖横气没泽浅涤温游湾滤滩灯炉点烬热爱现电皱盐码祸稳简类"
    "红纤约纯纳纶纹纺线绒绕维绿缝网罗群肤胶脑脚脱蓝蚕衬装裤计记设诺读调货质车轮软轻边运这连适选邮采里钢链"
    "锁锅锈锦键锯长门闲阁阳隐静领颜风饰马鸣鸦鸭鹅麦黄齿龙"
)
_TRADITIONAL = (
    "與絲兩樂書雲亞親夥傘倫體側兒內軍涼幾凱務動勻協單賣衛廚雙發變疊臺嗎脣圍圓墜墊聲殼壺復頭夾妝寧實層屬嶼"
    "嵐峽帶牀開彈錄徑懷態戶護換數斷無舊時顯機條極樹棲橫氣沒澤淺滌溫遊灣濾灘燈爐點燼熱愛現電皺鹽碼禍穩簡類"
    "紅纖約純納綸紋紡線絨繞維綠縫網羅羣膚膠腦腳脫藍蠶襯裝褲計記設諾讀調貨質車輪軟輕邊運這連適選郵採裏鋼鏈"
    "鎖鍋鏽錦鍵鋸長門閒閣陽隱靜領顏風飾馬鳴鴉鴨鵝麥黃齒龍"
)
_TABLE = str.maketrans(_SIMPLIFIED, _TRADITIONAL)


def to_traditional(text: str) -> str:
    """The text with every known simplified character in its traditional form."""
    return text.translate(_TABLE)
