<#
.SYNOPSIS
    Installs the LBFO Teaming Extension and, on request, enables it on one switch.

.DESCRIPTION
    Adds the driver package to the driver store, installs the network filter and, if a switch is named, enables
    the extension there. Without a switch nothing changes on the data path: an installed extension is disabled on
    every switch. Only one forwarding extension can be enabled on a switch; another one there stops the script.
    With a team, the adapters become a switch team below a new switch, whose extensions see each of them. A switch with
    embedded teaming (SET), with the extension of software defined networking (VFP) or on an LBFO team is refused.
    For each step that was taken the command that undoes it is printed, also when a later step fails. What was made
    before is left as it is, so that the script can be run again.

.PARAMETER SwitchName
    The switch to enable the extension on. Its traffic pauses for a moment. With a team, the switch to make.

.PARAMETER TeamName
    The switch team to make of TeamMembers.

.PARAMETER TeamMembers
    Names of adapters as Get-NetAdapter shows them: wired, in no team and on no switch. They lose their addresses.

.PARAMETER AllowManagementOS
    Whether the host gets an adapter of its own on the new switch; by default it does.

.PARAMETER PackagePath
    The folder of lbfoext.inf, lbfoext.sys and lbfoext.cat; by default the folder of this script.

.EXAMPLE
    .\install.ps1 -SwitchName External -WhatIf

.EXAMPLE
    .\install.ps1 -TeamName Uplinks -TeamMembers 'Ethernet 2','Ethernet 3' -SwitchName External

.NOTES
    Exit codes: 0 done, 1 failed or refused, 3010 to be run again after the next restart of the computer.
    With -WhatIf the conditions are checked and the steps are named; nothing is changed.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $SwitchName,
    [string] $TeamName,
    [string[]] $TeamMembers,
    [bool] $AllowManagementOS = $true,
    [string] $PackagePath = $PSScriptRoot
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$ComponentId = 'lbfo_lbfoext'
$ServiceName = 'lbfoext'
$ExtensionName = 'LBFO Teaming Extension'
$Package = 'lbfoext.inf', 'lbfoext.sys', 'lbfoext.cat'
$FirstBuild = 19041                     # the first that exports what the driver imports
$RestartNeeded = 0x0004A020, 3010       # NETCFG_S_REBOOT, ERROR_SUCCESS_REBOOT_REQUIRED
$MostMembers = 32                       # of a switch team

$Undo = [System.Collections.Generic.Stack[string]]::new()
$ExitCode = 0

function Assert-Host {
    $build = [Environment]::OSVersion.Version.Build
    if ($build -lt $FirstBuild) {
        throw "Windows build $build is too old; Windows Server 2022 or later is needed."
    }
    foreach ($file in $Package) {
        if (-not (Test-Path -LiteralPath (Join-Path $PackagePath $file) -PathType Leaf)) {
            throw "$file is not in $PackagePath."
        }
    }
    $signature = Get-AuthenticodeSignature -LiteralPath (Join-Path $PackagePath 'lbfoext.cat')
    if ($signature.Status -ne 'Valid') {
        throw "The signature of lbfoext.cat is not trusted here ($($signature.Status)): see 'Test signing' in the README."
    }
}

# A name in the quotation marks that a command needs.
function Format-Name([string] $Name) {
    "'" + $Name.Replace("'", "''") + "'"
}

function Assert-Member([string] $Member) {
    $adapter = Get-NetAdapter | Where-Object { $_.Name -eq $Member }
    if (-not $adapter) { throw "There is no adapter '$Member'; Get-NetAdapter lists those of this computer." }
    $lbfo = Get-NetLbfoTeamMember | Where-Object { $_.Name -eq $Member }
    if ($lbfo) {
        throw "'$Member' is in the LBFO team '$($lbfo.Team)', and the extension sees no members of such a team. " +
            "First: Remove-NetLbfoTeam -Name $(Format-Name $lbfo.Team)"
    }
    $other = Get-NetSwitchTeamMember | Where-Object { $_.Name -eq $Member -and $_.Team -ne $TeamName }
    if ($other) {
        throw "'$Member' is in the switch team '$($other.Team)'. " +
            "First: Remove-NetSwitchTeam -Name $(Format-Name $other.Team)"
    }
    $switch = Get-VMSwitch | Where-Object { $_.NetAdapterInterfaceDescriptions -contains $adapter.InterfaceDescription }
    if ($switch) {
        throw "'$Member' is on the switch '$($switch.Name)' and can be in no team. " +
            "First: Remove-VMSwitch -Name $(Format-Name $switch.Name)"
    }
}

function Assert-Team {
    if (-not ($TeamName -and $TeamMembers -and $SwitchName)) {
        throw 'A team needs TeamName, TeamMembers and SwitchName.'
    }
    if (-not (Get-Command New-NetSwitchTeam -ErrorAction SilentlyContinue)) {
        throw 'This computer has no switch teams (module NetSwitchTeam): they are part of Windows Server.'
    }
    if ($TeamMembers.Count -gt $MostMembers) { throw "A switch team has at most $MostMembers members." }
    foreach ($member in $TeamMembers) { Assert-Member $member }
    $present = @(Get-NetSwitchTeamMember | Where-Object { $_.Team -eq $TeamName } | ForEach-Object { $_.Name })
    if ($present -and (Compare-Object -ReferenceObject $present -DifferenceObject $TeamMembers)) {
        throw "The switch team '$TeamName' is there with other members: $($present -join ', '). Choose another name, " +
            "or first: Remove-NetSwitchTeam -Name $(Format-Name $TeamName)"
    }
}

function Assert-Switch {
    $switch = Get-VMSwitch | Where-Object { $_.Name -eq $SwitchName }
    if (-not $switch) {
        if ($TeamName) { return }
        throw "There is no switch '$SwitchName'; Get-VMSwitch lists those of this computer."
    }
    $remove = "Remove-VMSwitch -Name $(Format-Name $SwitchName)"
    if ($switch.EmbeddedTeamingEnabled) {
        throw "Switch '$SwitchName' has embedded teaming (SET), which distributes the traffic itself. First: $remove, " +
            'then this script with TeamName and TeamMembers. RDMA of the host over several adapters needs SET and is lost.'
    }
    $lbfo = if (Get-Command Get-NetLbfoTeamNic -ErrorAction SilentlyContinue) {
        Get-NetLbfoTeamNic | Where-Object { $_.InterfaceDescription -eq $switch.NetAdapterInterfaceDescription }
    }
    if ($lbfo) {
        throw "Switch '$SwitchName' is on the LBFO team '$($lbfo.Team)', and the extension sees no members of such a team. " +
            "First: $remove; Remove-NetLbfoTeam -Name $(Format-Name $lbfo.Team)"
    }
    $extensions = Get-VMSwitchExtension -VMSwitchName $SwitchName | Where-Object { $_.Enabled -and $_.Name -ne $ExtensionName }
    $other = $extensions | Where-Object { $_.Name -like '*VFP*' } | Select-Object -First 1
    if ($other) {
        throw "'$($other.Name)' is enabled on switch '$SwitchName': software defined networking (SDN) forwards there. " +
            'Use a switch that SDN does not manage.'
    }
    $other = $extensions | Where-Object { $_.ExtensionType -eq 'Forwarding' } | Select-Object -First 1
    if ($other) {
        throw "'$($other.Name)' is enabled on switch '$SwitchName', and a switch has one forwarding extension. " +
            "First: Disable-VMSwitchExtension -VMSwitchName $(Format-Name $SwitchName) -Name $(Format-Name $other.Name)"
    }
    $team = Get-NetAdapter | Where-Object { $TeamName -and $_.Name -eq $TeamName }
    if ($TeamName -and (-not $team -or $team.InterfaceDescription -ne $switch.NetAdapterInterfaceDescription)) {
        throw "Switch '$SwitchName' is there and not on the team '$TeamName'. Choose another name, or first: $remove"
    }
}

function Install-Filter {
    if (Get-CimInstance Win32_SystemDriver -Filter "Name='$ServiceName'") {
        Write-Host 'The extension is installed already. To update it, run uninstall.ps1 first.'
        return
    }
    $inf = (Resolve-Path -LiteralPath (Join-Path $PackagePath 'lbfoext.inf')).ProviderPath
    if (-not $PSCmdlet.ShouldProcess($inf, 'Install the network filter')) { return }
    & netcfg.exe -v -l $inf -c s -i $ComponentId | Out-Host
    if ($RestartNeeded -contains $LASTEXITCODE) {
        $script:ExitCode = 3010
    } elseif ($LASTEXITCODE -ne 0) {
        throw ('netcfg.exe failed with 0x{0:X8}; see %windir%\INF\setupapi.dev.log.' -f $LASTEXITCODE)
    }
    $Undo.Push((Join-Path $PSScriptRoot 'uninstall.ps1'))
}

function New-Team {
    if (Get-NetSwitchTeam | Where-Object { $_.Name -eq $TeamName }) {
        Write-Host "The switch team '$TeamName' is there already."
        return
    }
    if (-not $PSCmdlet.ShouldProcess("adapters $($TeamMembers -join ', ')", "Make the switch team '$TeamName'")) { return }
    New-NetSwitchTeam -Name $TeamName -TeamMembers $TeamMembers | Out-Null
    $Undo.Push("Remove-NetSwitchTeam -Name $(Format-Name $TeamName)")
}

function New-Switch {
    if (Get-VMSwitch | Where-Object { $_.Name -eq $SwitchName }) {
        Write-Host "The switch '$SwitchName' is there already."
        return
    }
    if (-not $PSCmdlet.ShouldProcess("switch team '$TeamName'", "Make the switch '$SwitchName'")) { return }
    New-VMSwitch -Name $SwitchName -NetAdapterName $TeamName -AllowManagementOS $AllowManagementOS | Out-Null
    $Undo.Push("Remove-VMSwitch -Name $(Format-Name $SwitchName)")
}

function Enable-Extension {
    if (-not $PSCmdlet.ShouldProcess("switch '$SwitchName'", "Enable '$ExtensionName'")) { return }
    Enable-VMSwitchExtension -VMSwitchName $SwitchName -Name $ExtensionName | Out-Null
    $Undo.Push("Disable-VMSwitchExtension -VMSwitchName $(Format-Name $SwitchName) -Name '$ExtensionName'")

    $extension = Get-VMSwitchExtension -VMSwitchName $SwitchName -Name $ExtensionName
    $extension | Format-List -Property 'Name', 'Vendor', 'Version', 'ExtensionType', 'SwitchName', 'Enabled', 'Running' | Out-Host
    if (-not ($extension.Enabled -and $extension.Running)) {
        throw "The extension does not run on switch '$SwitchName'; see the system event log."
    }
}

try {
    Assert-Host
    if ($TeamName -or $TeamMembers) { Assert-Team }
    if ($SwitchName) { Assert-Switch }
    Install-Filter
    if ($TeamName -and $ExitCode -eq 0) {
        New-Team
        New-Switch
    }
    if ($SwitchName -and $ExitCode -eq 0) { Enable-Extension }
    if ($ExitCode -eq 3010) {
        Write-Warning 'Restart the computer, then run this script again with the same arguments.'
    }
} catch {
    [Console]::Error.WriteLine("install.ps1: $_")
    $ExitCode = 1
}

if ($Undo.Count -gt 0) {
    Write-Host 'To undo:'
    $Undo | ForEach-Object { Write-Host "    $_" }
}
exit $ExitCode
